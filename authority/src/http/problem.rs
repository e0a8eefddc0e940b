//! Errors as RFC 9457 problem details.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{IssueError, RevokeError};

/// An error for the client.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    name: &'static str,
    detail: String,
}

impl Problem {
    /// No such path.
    pub const NOT_FOUND: Self = Self::plain(StatusCode::NOT_FOUND, "not-found");
    /// The client showed no host credential.
    pub const NOT_A_HOST: Self = Self::plain(StatusCode::UNAUTHORIZED, "host-credential-required");
    /// Too many outstanding challenges.
    pub const EXHAUSTED: Self = Self::plain(StatusCode::SERVICE_UNAVAILABLE, "too-many-challenges");
    /// The authority's own failure; its log says more.
    pub const INTERNAL: Self = Self::plain(StatusCode::INTERNAL_SERVER_ERROR, "internal");

    const fn plain(status: StatusCode, name: &'static str) -> Self {
        Self { status, name, detail: String::new() }
    }

    /// The client's fault, in words.
    pub fn bad_request(detail: impl ToString) -> Self {
        Self { status: StatusCode::BAD_REQUEST, name: "bad-request", detail: detail.to_string() }
    }
}

/// Logs the authority's own failure.
pub fn internal(error: &dyn std::error::Error) -> Problem {
    tracing::error!(%error, "request failed");
    Problem::INTERNAL
}

impl From<IssueError> for Problem {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::BadRequest
            | IssueError::UnsupportedKey
            | IssueError::UnsupportedPairingKey
            | IssueError::NothingToRenew => Self::bad_request(error),
            IssueError::Making(_) | IssueError::Random(_) | IssueError::Store(_) => internal(&error),
        }
    }
}

impl From<RevokeError> for Problem {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::Unknown => {
                Self { status: StatusCode::NOT_FOUND, name: "unknown-certificate", detail: error.to_string() }
            }
            RevokeError::UnknownReason => Self::bad_request(error),
            RevokeError::Store(_) => internal(&error),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, name, detail } = self;
        let body = json!({ "type": format!("urn:cardhost:authority:{name}"), "title": name, "status": status.as_u16(), "detail": detail });
        let kind = HeaderValue::from_static("application/problem+json");
        (status, [(header::CONTENT_TYPE, kind)], Json(body)).into_response()
    }
}
