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

use super::{
    access::{Access, AssignedTerminal},
    idempotency::{IdempotencyKey, Idempotent},
    operation::operations,
    problem::{Fault, Kind, Problem},
};
use crate::{App, pki::DeviceRequestRefused, store::devices::DeviceRecord};

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

/// Certifies a device key for the mutually authenticated channel.
#[utoipa::path(post, path = "/v1/terminals/{terminal}/devices", tag = "devices",
    params(("terminal" = String, Path), IdempotencyKey), request_body = Enrolment, responses(
    (status = 201, description = "certified", body = EnrolledDevice),
    (status = 403, description = "terminal-not-assigned", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "invalid-value: the request is not acceptable", body = Problem, content_type = "application/problem+json"),
))]
async fn enrol(
    State(app): State<Arc<App>>,
    AssignedTerminal { terminal, caller }: AssignedTerminal,
    request: Idempotent<Enrolment>,
) -> Result<(StatusCode, Json<EnrolledDevice>), Fault> {
    let device = request
        .perform(&app.idempotency, async |enrolment| {
            let certificate = app.pki.devices.certify_device(&enrolment.csr, terminal.as_str())?;
            let expires_at = Timestamp::from_second(certificate.expires_at).map_err(Fault::internal)?;
            let record = DeviceRecord { fingerprint: certificate.fingerprint, terminal, expires_at };
            app.devices.insert(caller.user, record).await?;
            Ok(EnrolledDevice { id: hex::encode(certificate.fingerprint), pem: certificate.pem, expires_at })
        })
        .await?;
    Ok((StatusCode::CREATED, Json(device)))
}

/// Removes a device: its certificate is refused from now on, and its sessions and channels end.
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
    app.channels.end_where(|admission| admission.device == fingerprint);
    Ok(StatusCode::NO_CONTENT)
}

impl From<DeviceRecord> for DeviceEntry {
    fn from(device: DeviceRecord) -> Self {
        Self { id: hex::encode(device.fingerprint), expires_at: device.expires_at }
    }
}

impl From<DeviceRequestRefused> for Fault {
    fn from(refused: DeviceRequestRefused) -> Self {
        Self::new(Kind::INVALID_VALUE, refused.to_string())
    }
}
