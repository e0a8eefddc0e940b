//! One id per request, from the caller or made here, in every log line, answer and problem of it.

use std::fmt;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// The header that carries it both ways.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id taken from a caller.
const MAX: usize = 64;

/// A request's id: up to 64 letters, digits and `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// The caller's, if it sent a well-formed one; else a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(HEADER).and_then(|value| value.to_str().ok());
        let well_formed = |id: &&str| {
            !id.is_empty() && id.len() <= MAX && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        Self(given.filter(well_formed).map_or_else(|| Uuid::new_v4().to_string(), String::from))
    }

    /// As a header's value.
    pub fn to_header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("letters, digits and hyphens")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
