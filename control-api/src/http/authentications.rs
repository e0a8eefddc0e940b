//! Authentication: the card signs the authority's fresh challenge, the authority decides.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    access::{Access, AssignedTerminal},
    body::JsonBody,
    certificates::pin,
    operation::operations,
    problem::{Fault, Problem},
    secret::SecretText,
};
use crate::{App, authority::Verdict};

/// The operations of this file.
pub fn routes(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(operations(app, Access::TerminalUse, routes!(create)))
}

/// Which certificate to authenticate with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AuthenticationRequest {
    /// Its id; if absent, the one of slot 9E, which needs no PIN, else the first one.
    #[schema(value_type = Option<String>)]
    certificate: Option<Uuid>,
    /// The PIN, for keys that need it. Visible to the daemon.
    #[schema(value_type = Option<String>, write_only)]
    pin: Option<SecretText>,
}

/// What the authority decided.
#[derive(Serialize, ToSchema)]
struct AuthenticationAnswer {
    result: AuthenticationResult,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum AuthenticationResult {
    Success,
    Failure,
}

/// Authenticates the terminal to the authority with a key in its card.
#[utoipa::path(post, path = "/v1/terminals/{terminal}/authentications", tag = "authentications",
    params(("terminal" = String, Path)), request_body = AuthenticationRequest, responses(
    (status = 200, description = "the authority decided", body = AuthenticationAnswer),
    (status = 403, description = "terminal-not-assigned, pin-required, pin-wrong, pin-blocked", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "not-found", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "card-absent", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "authority-unreachable, card-unavailable", body = Problem, content_type = "application/problem+json"),
))]
async fn create(
    State(app): State<Arc<App>>,
    AssignedTerminal { terminal, caller }: AssignedTerminal,
    JsonBody(request): JsonBody<AuthenticationRequest>,
) -> Result<Json<AuthenticationAnswer>, Fault> {
    let pin = request.pin.map(pin).transpose()?;
    let outcome = app.life_cycle.authenticate(&terminal, request.certificate, pin, &caller.user).await?;
    Ok(Json(outcome.verdict.into()))
}

impl From<Verdict> for AuthenticationAnswer {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Success => Self { result: AuthenticationResult::Success, reason: None },
            Verdict::Failure { reason } => {
                Self { result: AuthenticationResult::Failure, reason: Some(reason) }
            }
        }
    }
}
