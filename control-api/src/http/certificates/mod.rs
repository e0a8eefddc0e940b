//! Certificates on a terminal's card: their keys are born in the card and end there.

mod answer;
mod request;

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    access::{Access, AssignedTerminal},
    idempotency::{IdempotencyKey, Idempotent},
    operation::operations,
    problem::{Fault, Kind, Problem},
};
use crate::{
    App,
    auth::{Role, name::Name},
    card::CardError,
    lifecycle::LifeCycleError,
};
use answer::{CertificateEntry, CertificateList, CreatedCertificate, DeletedCertificate, Secrets};
use request::CertificateRequest;

pub(super) use request::pin;

/// The operations of this file.
pub fn routes(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(operations(app, Access::TerminalLifeCycle, routes!(list, create)))
        .routes(operations(app, Access::TerminalLifeCycle, routes!(read, delete)))
        .routes(operations(app, Access::TerminalLifeCycle, routes!(renew)))
        .routes(operations(app, Access::TerminalLifeCycle, routes!(secrets, acknowledge_secrets)))
}

/// An empty object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// What an operator states.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Statement {
    /// Administrators only: the certificate was revoked at an authority that this host cannot have revoke it.
    #[serde(default)]
    revoked_elsewhere: bool,
}

/// Lists the terminal's certificates by slot.
#[utoipa::path(get, path = "/v1/terminals/{terminal}/certificates", tag = "certificates",
    params(("terminal" = String, Path)), responses(
    (status = 200, description = "certificates", body = CertificateList),
    (status = 403, description = "terminal-not-assigned", body = Problem, content_type = "application/problem+json"),
))]
async fn list(
    State(app): State<Arc<App>>,
    AssignedTerminal { terminal, .. }: AssignedTerminal,
) -> Result<Json<CertificateList>, Fault> {
    let certificates = app.life_cycle.certificates(&terminal).await?;
    Ok(Json(CertificateList { certificates: certificates.into_iter().map(CertificateEntry::from).collect() }))
}

/// Has a key made in the card and certified by the authority. The first certificate makes the card.
///
/// `secrets` holds what the card made because the caller did not choose it: PIN, PUK, management key. They can be read
/// again at `/v1/terminals/{terminal}/secrets` until they are acknowledged there.
#[utoipa::path(post, path = "/v1/terminals/{terminal}/certificates", tag = "certificates",
    params(("terminal" = String, Path), IdempotencyKey), request_body = CertificateRequest, responses(
    (status = 201, description = "issued, and stored in the card", body = CreatedCertificate),
    (status = 403, description = "terminal-not-assigned, card-policy", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "key-reference-occupied, authority-refused, conflict", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "invalid-value", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "authority-unreachable, card-unavailable", body = Problem, content_type = "application/problem+json"),
))]
async fn create(
    State(app): State<Arc<App>>,
    AssignedTerminal { terminal, caller }: AssignedTerminal,
    request: Idempotent<CertificateRequest>,
) -> Result<(StatusCode, Json<CreatedCertificate>), Fault> {
    let created: CreatedCertificate = request
        .perform(&app.idempotency, async |wish| {
            let wish = wish.check()?;
            Ok(app.life_cycle.create_certificate(&terminal, wish, &caller.user).await?.into())
        })
        .await?;
    // Never part of the stored answer: the card itself tells them as long as they are pending.
    let secrets = match created.card_created {
        true => pending_secrets(&app, &terminal).await?,
        false => None,
    };
    Ok((StatusCode::CREATED, Json(CreatedCertificate { secrets, ..created })))
}

/// One certificate.
#[utoipa::path(get, path = "/v1/terminals/{terminal}/certificates/{certificate}", tag = "certificates",
    params(("terminal" = String, Path), ("certificate" = String, Path)), responses(
    (status = 200, description = "the certificate", body = CertificateEntry),
    (status = 404, description = "not-found", body = Problem, content_type = "application/problem+json"),
))]
async fn read(
    State(app): State<Arc<App>>,
    AssignedTerminal { terminal, .. }: AssignedTerminal,
    Path((_, certificate)): Path<(String, String)>,
) -> Result<Json<CertificateEntry>, Fault> {
    let id = id(&certificate)?;
    Ok(Json(app.life_cycle.certificate(&terminal, id).await?.into()))
}

/// Has the authority certify the same key anew. The certificate keeps its id.
#[utoipa::path(post, path = "/v1/terminals/{terminal}/certificates/{certificate}/renewal", tag = "certificates",
    params(("terminal" = String, Path), ("certificate" = String, Path), IdempotencyKey), responses(
    (status = 201, description = "renewed", body = CertificateEntry),
    (status = 404, description = "not-found", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "authority-refused", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "authority-unreachable, card-unavailable", body = Problem, content_type = "application/problem+json"),
))]
async fn renew(
    State(app): State<Arc<App>>,
    AssignedTerminal { terminal, caller }: AssignedTerminal,
    Path((_, certificate)): Path<(String, String)>,
    request: Idempotent<Nothing>,
) -> Result<(StatusCode, Json<CertificateEntry>), Fault> {
    let id = id(&certificate)?;
    let renewed: CertificateEntry = request
        .perform(&app.idempotency, async |_| {
            Ok(app.life_cycle.renew(&terminal, id, &caller.user).await?.into())
        })
        .await?;
    Ok((StatusCode::CREATED, Json(renewed)))
}

/// Has the authority revoke the certificate and the card erase its key. With the last credential the card goes.
#[utoipa::path(delete, path = "/v1/terminals/{terminal}/certificates/{certificate}", tag = "certificates",
    params(("terminal" = String, Path), ("certificate" = String, Path), Statement), responses(
    (status = 200, description = "revoked and erased", body = DeletedCertificate),
    (status = 404, description = "not-found", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "authority-refused", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "authority-unreachable, card-unavailable", body = Problem, content_type = "application/problem+json"),
))]
async fn delete(
    State(app): State<Arc<App>>,
    AssignedTerminal { terminal, caller }: AssignedTerminal,
    Path((_, certificate)): Path<(String, String)>,
    Query(statement): Query<Statement>,
) -> Result<Json<DeletedCertificate>, Fault> {
    let id = id(&certificate)?;
    if statement.revoked_elsewhere && caller.role != Role::Administrator {
        return Err(Fault::new(Kind::ADMINISTRATOR_ONLY, "only an administrator may state a revocation"));
    }
    let deleted = app.life_cycle.delete(&terminal, id, statement.revoked_elsewhere, &caller.user).await?;
    Ok(Json(deleted.into()))
}

/// The PIN, PUK and management key that the card made, until they are acknowledged.
#[utoipa::path(get, path = "/v1/terminals/{terminal}/secrets", tag = "certificates",
    params(("terminal" = String, Path)), responses(
    (status = 200, description = "the secrets", body = Secrets),
    (status = 404, description = "not-found: acknowledged, or none were made", body = Problem, content_type = "application/problem+json"),
))]
async fn secrets(
    State(app): State<Arc<App>>,
    AssignedTerminal { terminal, .. }: AssignedTerminal,
) -> Result<Json<Secrets>, Fault> {
    Ok(Json(app.life_cycle.secrets(&terminal).await?.into()))
}

/// The user has the secrets: the card erases the copies that it kept for delivery.
#[utoipa::path(delete, path = "/v1/terminals/{terminal}/secrets", tag = "certificates",
    params(("terminal" = String, Path)), responses(
    (status = 204, description = "erased"),
    (status = 404, description = "not-found", body = Problem, content_type = "application/problem+json"),
))]
async fn acknowledge_secrets(
    State(app): State<Arc<App>>,
    AssignedTerminal { terminal, caller }: AssignedTerminal,
) -> Result<StatusCode, Fault> {
    app.life_cycle.acknowledge_secrets(&terminal, &caller.user).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn pending_secrets(app: &App, terminal: &Name) -> Result<Option<Secrets>, Fault> {
    match app.life_cycle.secrets(terminal).await {
        Ok(secrets) => Ok(Some(secrets.into())),
        Err(LifeCycleError::NoSecrets | LifeCycleError::Card(CardError::Absent)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn id(text: &str) -> Result<Uuid, Fault> {
    text.parse().map_err(|_| unknown())
}

fn unknown() -> Fault {
    Fault::not_found("certificate")
}
