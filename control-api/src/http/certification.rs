//! The certificate of a card's pairing key: its status, for terminals, and its revocation.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    access::{Access, Administrator, AssignedTerminal},
    cards::of_card,
    operation::operations,
    problem::{Fault, Kind, Problem},
};
use crate::App;

/// Longest serial number of a certificate (RFC 5280, 4.1.2.2), bytes.
const MAX_SERIAL: usize = 20;

/// The operations of this file.
pub fn routes(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(operations(app, Access::TerminalLifeCycle, routes!(status)))
        .routes(operations(app, Access::Administrator, routes!(revoke)))
}

/// What the authority says of a card's certificate.
#[derive(Serialize, ToSchema)]
struct CertificateStatus {
    /// OCSPResponse (RFC 6960), DER in base64, signed by the authority that certifies cards. The terminal verifies it.
    ocsp_response: String,
}

/// Whether the certificate with this serial number is revoked, with which the card showed itself to the terminal. The
/// authority's answer is kept until it has a newer one.
#[utoipa::path(get, path = "/v1/cards/{terminal}/certification/{serial}", tag = "cards",
    params(("terminal" = String, Path), ("serial" = String, Path, description = "hexadecimal")), responses(
    (status = 200, description = "the authority's answer", body = CertificateStatus),
    (status = 403, description = "terminal-not-assigned", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "pairing-unavailable: this authority certifies no keys for pairing", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "invalid-value: not a serial number", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "authority-unreachable", body = Problem, content_type = "application/problem+json"),
))]
async fn status(
    State(app): State<Arc<App>>,
    _: AssignedTerminal,
    Path((_, serial)): Path<(String, String)>,
) -> Result<Json<CertificateStatus>, Fault> {
    let serial = hex::decode(serial).ok().filter(|serial| (1..=MAX_SERIAL).contains(&serial.len()));
    let malformed = || Fault::new(Kind::INVALID_VALUE, "a serial number has 1 to 20 bytes, in hexadecimal");
    let serial = serial.ok_or_else(malformed)?;
    if !app.life_cycle.authority().offers_pairing() {
        let detail = "this authority certifies no keys for pairing";
        return Err(Fault::new(Kind::PAIRING_UNAVAILABLE, detail));
    }
    let response = app.life_cycle.card_status(serial).await?;
    Ok(Json(CertificateStatus { ocsp_response: STANDARD.encode(response) }))
}

/// Has the authority revoke the certificate with which the card pairs, at once or as soon as it can be reached. Terminals
/// refuse the card from then on, and it is not certified again. What goes over REST goes on. Audited.
#[utoipa::path(delete, path = "/v1/cards/{terminal}/certification", tag = "cards", params(("terminal" = String, Path)), responses(
    (status = 204, description = "revoked, or about to be"),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "not-found: there is no such terminal, it has no card, or the card no certificate", body = Problem, content_type = "application/problem+json"),
))]
async fn revoke(
    State(app): State<Arc<App>>,
    Administrator(caller): Administrator,
    Path(terminal): Path<String>,
) -> Result<StatusCode, Fault> {
    let terminal = of_card(&app, &terminal).await?;
    match app.life_cycle.revoke_card(&terminal, &caller.user).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Fault::not_found("certificate of the card's pairing key")),
    }
}
