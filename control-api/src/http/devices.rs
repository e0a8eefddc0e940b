//! Device keys of terminals: a certification request comes in, a client certificate goes out.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use x509_parser::parse_x509_certificate;

use super::{
    access::{Access, AssignedTerminal},
    idempotency::{IdempotencyKey, Idempotent},
    operation::operations,
    problem::{Fault, Kind, Problem},
};
use crate::{
    App,
    auth::name::Name,
    lifecycle::{PairingCertificate, pem},
    pki::{self, DeviceRequestRefused, PairingRequestRefused},
    store::devices::DeviceRecord,
};

/// The operations of this file.
pub fn routes(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(operations(app, Access::TerminalLifeCycle, routes!(list, enrol)))
        .routes(operations(app, Access::TerminalLifeCycle, routes!(delete)))
}

/// A terminal's wish for a client certificate.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Enrolment {
    /// A PKCS#10 certification request, PEM, signed with the device key.
    csr: String,
    /// Another one, for the key with which the terminal pairs with cards: P-256, and its subject is CN= and the terminal's
    /// name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pairing_csr: Option<String>,
}

/// A device with its new certificate.
#[derive(Serialize, Deserialize, ToSchema)]
struct EnrolledDevice {
    /// SHA-256 of the certificate, hex.
    id: String,
    /// The client certificate, PEM. Its subject's common name is the terminal's name.
    pem: String,
    /// From then on the certificate is refused: enrol again before.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// If it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pairing: Option<DevicePairing>,
}

/// What a terminal needs to pair with cards.
#[derive(Serialize, Deserialize, ToSchema)]
struct DevicePairing {
    /// The certificate of its pairing key, PEM.
    pem: String,
    /// The certificate of the authority that certifies cards, PEM: not the one that certified this key.
    authority_pem: String,
}

/// A terminal's devices.
#[derive(Serialize, ToSchema)]
struct DeviceList {
    devices: Vec<DeviceEntry>,
}

/// A device.
#[derive(Serialize, ToSchema)]
struct DeviceEntry {
    /// SHA-256 of its certificate, hex.
    id: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// Serial number of the certificate with which it pairs, hex, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pairing_serial: Option<String>,
}

/// Lists the devices that may use the terminal's channel.
#[utoipa::path(get, path = "/v1/terminals/{terminal}/devices", tag = "devices",
    params(("terminal" = String, Path)), responses(
    (status = 200, description = "devices", body = DeviceList),
    (status = 403, description = "terminal-not-assigned", body = Problem, content_type = "application/problem+json"),
))]
async fn list(
    State(app): State<Arc<App>>,
    AssignedTerminal { terminal, .. }: AssignedTerminal,
) -> Result<Json<DeviceList>, Fault> {
    let devices = app.devices.list(terminal).await?;
    Ok(Json(DeviceList { devices: devices.into_iter().map(DeviceEntry::from).collect() }))
}

/// Certifies a device key for the mutually authenticated channel, and if asked to one to pair with cards.
#[utoipa::path(post, path = "/v1/terminals/{terminal}/devices", tag = "devices",
    params(("terminal" = String, Path), IdempotencyKey), request_body = Enrolment, responses(
    (status = 201, description = "certified", body = EnrolledDevice),
    (status = 403, description = "terminal-not-assigned", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "pairing-unavailable: the authority certifies no keys for pairing; authority-refused", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "invalid-value: a request is not acceptable", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "authority-unreachable, authority-undecided", body = Problem, content_type = "application/problem+json"),
))]
async fn enrol(
    State(app): State<Arc<App>>,
    AssignedTerminal { terminal, caller }: AssignedTerminal,
    request: Idempotent<Enrolment>,
) -> Result<(StatusCode, Json<EnrolledDevice>), Fault> {
    let device = request
        .perform(&app.idempotency, async |enrolment| certify(&app, terminal, &caller.user, &enrolment).await)
        .await?;
    Ok((StatusCode::CREATED, Json(device)))
}

async fn certify(
    app: &App,
    terminal: Name,
    by: &Name,
    enrolment: &Enrolment,
) -> Result<EnrolledDevice, Fault> {
    let certificate = app.pki.devices.certify_device(&enrolment.csr, terminal.as_str())?;
    let wish = enrolment.pairing_csr.as_deref().map(|csr| pki::pairing_request(csr, terminal.as_str()));
    let wish = wish.transpose()?;
    if wish.is_some() && !app.life_cycle.authority().offers_pairing() {
        let detail = "this authority certifies no keys for pairing: leave pairing_csr out";
        return Err(Fault::new(Kind::PAIRING_UNAVAILABLE, detail));
    }
    let expires_at = Timestamp::from_second(certificate.expires_at).map_err(Fault::internal)?;
    let fingerprint = certificate.fingerprint;
    let device = DeviceRecord { fingerprint, terminal, expires_at, pairing_certificate: None };
    let pairing = app.life_cycle.enrol_device(device, wish, by).await?.map(DevicePairing::from);
    Ok(EnrolledDevice { id: hex::encode(fingerprint), pem: certificate.pem, expires_at, pairing })
}

/// Removes a device: its certificate is refused from now on, its sessions and channels end, and so do its pairings, once
/// the authority has revoked the certificate with which it pairs.
#[utoipa::path(delete, path = "/v1/terminals/{terminal}/devices/{device}", tag = "devices",
    params(("terminal" = String, Path), ("device" = String, Path)), responses(
    (status = 204, description = "removed"),
    (status = 403, description = "terminal-not-assigned", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "not-found", body = Problem, content_type = "application/problem+json"),
))]
async fn delete(
    State(app): State<Arc<App>>,
    AssignedTerminal { terminal, caller }: AssignedTerminal,
    Path((_, device)): Path<(String, String)>,
) -> Result<StatusCode, Fault> {
    let mut fingerprint = [0; 32];
    hex::decode_to_slice(device, &mut fingerprint).map_err(|_| Fault::not_found("device"))?;
    if !app.devices.delete(caller.user, terminal, fingerprint).await? {
        return Err(Fault::not_found("device"));
    }
    app.life_cycle.unsettle();
    app.channels.end_where(|admission| admission.device == fingerprint);
    Ok(StatusCode::NO_CONTENT)
}

impl From<DeviceRecord> for DeviceEntry {
    fn from(device: DeviceRecord) -> Self {
        let pairing_serial = device.pairing_certificate.as_deref().and_then(serial);
        Self { id: hex::encode(device.fingerprint), expires_at: device.expires_at, pairing_serial }
    }
}

fn serial(certificate: &[u8]) -> Option<String> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    Some(hex::encode(parsed.raw_serial()))
}

impl From<PairingCertificate> for DevicePairing {
    fn from(pairing: PairingCertificate) -> Self {
        Self { pem: pem(&pairing.certificate), authority_pem: pem(&pairing.card_authority) }
    }
}

impl From<PairingRequestRefused> for Fault {
    fn from(refused: PairingRequestRefused) -> Self {
        Self::new(Kind::INVALID_VALUE, refused.to_string())
    }
}

impl From<DeviceRequestRefused> for Fault {
    fn from(refused: DeviceRequestRefused) -> Self {
        Self::new(Kind::INVALID_VALUE, refused.to_string())
    }
}
