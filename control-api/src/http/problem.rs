//! What went wrong, as RFC 9457 problem details.
//!
//! Handlers answer with a [`Fault`]; only the wrapper around every operation turns it into a status and a body.

use std::sync::Arc;

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::request_id::RequestId;
use crate::store::{Condition, StoreError};

/// Media type of problem details (RFC 9457, 3).
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Problem details (RFC 9457).
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// `urn:cardhost:problem:` and the title. Stable.
    #[schema(example = "urn:cardhost:problem:pin-required")]
    pub r#type: String,
    /// The problem's name. Stable.
    #[schema(example = "pin-required")]
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What happened, for people.
    pub detail: String,
    /// `urn:cardhost:request:` and the request's id, as in the log and the header `x-request-id`.
    pub instance: String,
}

/// A kind of problem: its stable name and the status that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The name, for example `pin-required`.
    pub name: &'static str,
    /// The status.
    pub status: StatusCode,
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $constant:ident = $name:literal, $status:ident;)*) => {
        impl Kind {
            $($(#[doc = $doc])* pub const $constant: Self = Self { name: $name, status: StatusCode::$status };)*
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$constant),*];
        }
    };
}

kinds! {
    /// No token, an unknown or expired one, or one that is bound to another client certificate.
    UNAUTHENTICATED = "unauthenticated", UNAUTHORIZED;
    /// User or password is wrong.
    LOGIN_REFUSED = "login-refused", UNAUTHORIZED;
    /// Only an administrator may do this.
    ADMINISTRATOR_ONLY = "administrator-only", FORBIDDEN;
    /// The terminal is not assigned to this user.
    TERMINAL_NOT_ASSIGNED = "terminal-not-assigned", FORBIDDEN;
    /// The connection has no client certificate of this terminal.
    DEVICE_CERTIFICATE_REQUIRED = "device-certificate-required", FORBIDDEN;
    /// Nothing stands at this path.
    NOT_FOUND = "not-found", NOT_FOUND;
    /// The method is not offered at this path.
    METHOD_NOT_ALLOWED = "method-not-allowed", METHOD_NOT_ALLOWED;
    /// The body is not the JSON that the operation takes.
    MALFORMED_REQUEST = "malformed-request", BAD_REQUEST;
    /// A value is outside of what the operation takes.
    INVALID_VALUE = "invalid-value", UNPROCESSABLE_ENTITY;
    /// The body is too long.
    BODY_TOO_LARGE = "body-too-large", PAYLOAD_TOO_LARGE;
    /// The body took too long to arrive.
    REQUEST_TIMEOUT = "request-timeout", REQUEST_TIMEOUT;
    /// The body is not `application/json`.
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE;
    /// Too many logins at once.
    TOO_MANY_REQUESTS = "too-many-requests", TOO_MANY_REQUESTS;
    /// What the request meets does not allow it.
    CONFLICT = "conflict", CONFLICT;
    /// The idempotency key was used for another request.
    IDEMPOTENCY_KEY_REUSED = "idempotency-key-reused", UNPROCESSABLE_ENTITY;
    /// A request with this idempotency key is still under way.
    IDEMPOTENCY_IN_PROGRESS = "idempotency-in-progress", CONFLICT;
    /// A channel of this terminal and protocol is open.
    CHANNEL_IN_USE = "channel-in-use", CONFLICT;
    /// The request is not a WebSocket upgrade with the subprotocol of the channel.
    UPGRADE_REQUIRED = "upgrade-required", UPGRADE_REQUIRED;
    /// The host failed; its log says why.
    INTERNAL = "internal-error", INTERNAL_SERVER_ERROR;
    /// The daemon is ending, or not ready.
    UNAVAILABLE = "unavailable", SERVICE_UNAVAILABLE;
    /// The host's disk is full: nothing can be stored before it has room.
    STORE_FULL = "store-full", INSUFFICIENT_STORAGE;
    /// The host's store takes no write now.
    STORE_UNAVAILABLE = "store-unavailable", SERVICE_UNAVAILABLE;
    /// The key needs the PIN.
    PIN_REQUIRED = "pin-required", FORBIDDEN;
    /// The PIN is wrong.
    PIN_WRONG = "pin-wrong", FORBIDDEN;
    /// The PIN is blocked.
    PIN_BLOCKED = "pin-blocked", FORBIDDEN;
    /// The slot holds a key.
    KEY_REFERENCE_OCCUPIED = "key-reference-occupied", CONFLICT;
    /// A profile with this ICCID is on the card.
    PROFILE_EXISTS = "profile-exists", CONFLICT;
    /// The terminal has no card.
    CARD_ABSENT = "card-absent", CONFLICT;
    /// Parking the card would be noticed: it is in use, or has session state on an open channel.
    CARD_BUSY = "card-busy", CONFLICT;
    /// As many cards are live as may be, and none of them can park now.
    TOO_MANY_LIVE_CARDS = "too-many-live-cards", SERVICE_UNAVAILABLE;
    /// There are as many cards as this host may have.
    TOO_MANY_CARDS = "too-many-cards", CONFLICT;
    /// The terminal's user has as many cards as one may have.
    USER_QUOTA_REACHED = "user-quota-reached", CONFLICT;
    /// The card did not start or does not answer.
    CARD_UNAVAILABLE = "card-unavailable", SERVICE_UNAVAILABLE;
    /// The card does not start until somebody acts; its `reason` says why.
    CARD_REFUSED = "card-refused", CONFLICT;
    /// The host's guest image wrote the card last: there is nothing to adopt.
    ALREADY_ADOPTED = "already-adopted", CONFLICT;
    /// The card was moved away from the host's guest image and does not come back to it.
    IMAGE_LEFT_BEHIND = "image-left-behind", CONFLICT;
    /// The card's policy forbids it.
    CARD_POLICY = "card-policy", FORBIDDEN;
    /// The card, or this host's authority, offers no pairing.
    PAIRING_UNAVAILABLE = "pairing-unavailable", CONFLICT;
    /// The authority cannot be reached.
    AUTHORITY_UNREACHABLE = "authority-unreachable", SERVICE_UNAVAILABLE;
    /// The authority refused.
    AUTHORITY_REFUSED = "authority-refused", CONFLICT;
    /// The authority took the request and has not decided.
    AUTHORITY_UNDECIDED = "authority-undecided", SERVICE_UNAVAILABLE;
    /// The authority does not revoke: an operator has to, and to say so.
    REVOKE_ELSEWHERE = "revoke-elsewhere", CONFLICT;
    /// Begun and not finished within the request; the host goes on by itself.
    CARRIED_FORWARD = "carried-forward", SERVICE_UNAVAILABLE;
}

/// A failed operation: its kind, what to tell the caller, and what only the log is to know.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The kind.
    pub kind: Kind,
    detail: String,
    retry_after: Option<u32>,
    cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Fault {
    /// A fault with this detail for the caller.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), retry_after: None, cause: None }
    }

    /// The host's own failure: the caller learns only that it happened.
    pub fn internal(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::new(Kind::INTERNAL, "the host failed; its log says why under this request's id").because(cause)
    }

    /// Nothing of this kind has this name.
    pub fn not_found(what: &str) -> Self {
        Self::new(Kind::NOT_FOUND, format!("there is no such {what}"))
    }

    /// Adds the cause, for the log.
    #[must_use]
    pub fn because(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.cause = Some(Arc::new(cause));
        self
    }

    /// Tells the caller to try again after this many seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The response: decided here and nowhere else.
    pub(super) fn render(self, id: &RequestId) -> Response {
        self.log();
        let problem = Problem {
            r#type: format!("urn:cardhost:problem:{}", self.kind.name),
            title: self.kind.name,
            status: self.kind.status.as_u16(),
            detail: self.detail,
            instance: format!("urn:cardhost:request:{id}"),
        };
        let mut response = (self.kind.status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        for (name, value) in extra_headers(self.kind, self.retry_after) {
            headers.insert(name, value);
        }
        response
    }

    fn log(&self) {
        let cause = self.cause.as_deref().map(|cause| cause as &dyn std::error::Error);
        if self.kind.status.is_server_error() {
            tracing::error!(problem = self.kind.name, cause, "request failed");
        } else {
            tracing::debug!(problem = self.kind.name, cause, "request refused");
        }
    }
}

/// Carries the fault to the wrapper, which renders it.
impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = self.kind.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error.condition() {
            Condition::Full => {
                Self::new(Kind::STORE_FULL, "the host's disk is full").retry_after(60).because(error)
            }
            Condition::Unavailable => {
                let detail = "the host's store takes nothing now: try again";
                Self::new(Kind::STORE_UNAVAILABLE, detail).retry_after(1).because(error)
            }
            Condition::Broken => Self::internal(error),
        }
    }
}

fn extra_headers(kind: Kind, retry_after: Option<u32>) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    if kind.status == StatusCode::UNAUTHORIZED {
        headers.push((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"cardhost\"")));
    }
    if kind == Kind::REQUEST_TIMEOUT || kind == Kind::BODY_TOO_LARGE {
        headers.push((header::CONNECTION, HeaderValue::from_static("close")));
    }
    headers.extend(retry_after.map(|seconds| (header::RETRY_AFTER, HeaderValue::from(seconds))));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_name() {
        let mut names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Kind::ALL.len());
    }
}
