//! Log in and log out.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    access::{Access, Caller, ConnectionDevice},
    body::JsonBody,
    operation::operations,
    problem::{Fault, Kind, Problem},
    secret::SecretText,
};
use crate::{
    App,
    auth::{name::Name, password::Busy, token::Token},
    store::sessions::{NewSession, Start},
};

/// How long a token is valid.
const VALIDITY: Duration = Duration::from_secs(12 * 3600);

/// The operations of this file.
pub fn routes(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(operations(app, Access::Public, routes!(create))).routes(operations(
        app,
        Access::User,
        routes!(delete),
    ))
}

/// A login.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Login {
    /// The user's name.
    user: String,
    /// The user's password.
    #[schema(value_type = String, write_only)]
    password: SecretText,
}

/// A session.
#[derive(Serialize, ToSchema)]
struct SessionToken {
    /// To be sent as `Authorization: Bearer`. Shown once.
    token: SecretText,
    /// From then on the token is refused.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Logs a user in.
///
/// A token made or used on a connection with a terminal's client certificate is bound to that certificate:
/// with another one or none it is refused.
#[utoipa::path(post, path = "/v1/sessions", tag = "sessions", security(()), request_body = Login, responses(
    (status = 201, description = "logged in", body = SessionToken),
    (status = 401, description = "login-refused", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "device-certificate-required: the connection's one is not accepted", body = Problem, content_type = "application/problem+json"),
    (status = 429, description = "too-many-requests", body = Problem, content_type = "application/problem+json"),
))]
async fn create(
    State(app): State<Arc<App>>,
    ConnectionDevice(device): ConnectionDevice,
    JsonBody(login): JsonBody<Login>,
) -> Result<(StatusCode, Json<SessionToken>), Fault> {
    let user = verified(&app, login).await?;
    let token = Token::generate();
    let expires_at = Timestamp::now() + VALIDITY;
    let session = NewSession { token: token.hash(), user, device, expires_at };
    match app.sessions.insert(session).await? {
        Start::Done => {}
        Start::UnknownDevice => return Err(unknown_device()),
        Start::UnknownUser => return Err(refused()),
    }
    Ok((StatusCode::CREATED, Json(SessionToken { token: token.into(), expires_at })))
}

/// Logs out: the token is refused from now on.
#[utoipa::path(delete, path = "/v1/sessions/current", tag = "sessions", responses(
    (status = 204, description = "logged out"),
    (status = 401, description = "unauthenticated", body = Problem, content_type = "application/problem+json"),
))]
async fn delete(State(app): State<Arc<App>>, caller: Caller) -> Result<StatusCode, Fault> {
    app.sessions.delete(caller.session).await?;
    app.channels.end_where(|admission| admission.session == caller.session);
    Ok(StatusCode::NO_CONTENT)
}

async fn verified(app: &App, login: Login) -> Result<Name, Fault> {
    let name: Option<Name> = login.user.parse().ok();
    let stored = match &name {
        Some(name) => app.users.password_hash(name).await?,
        None => None,
    };
    let matches = app.passwords.verify(&login.user, stored, login.password.into()).await?;
    name.filter(|_| matches).ok_or_else(refused)
}

fn refused() -> Fault {
    Fault::new(Kind::LOGIN_REFUSED, "the user is not on the authorised list, or the password is wrong")
}

fn unknown_device() -> Fault {
    let detail = "the connection's client certificate is not accepted (any more): enrol the device again";
    Fault::new(Kind::DEVICE_CERTIFICATE_REQUIRED, detail)
}

impl From<Busy> for Fault {
    fn from(busy: Busy) -> Self {
        Self::new(Kind::TOO_MANY_REQUESTS, busy.to_string()).retry_after(1)
    }
}
