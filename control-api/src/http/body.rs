//! Request bodies: JSON, bounded in length and in time.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use tokio::time;
use zeroize::Zeroizing;

use super::problem::{Fault, Kind};
use crate::App;

/// Longest body, bytes.
pub const MAX: usize = 64 * 1024;

/// A body's bytes, erased on drop: it may hold a password or a PIN.
pub struct RawBody(pub Zeroizing<Vec<u8>>);

impl FromRequest<Arc<App>> for RawBody {
    type Rejection = Fault;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Fault> {
        read(request.into_body(), app.limits.body).await.map(Self)
    }
}

/// A JSON body without unknown members (each `T` denies them).
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for JsonBody<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Fault> {
        require_json(request.headers())?;
        let RawBody(bytes) = RawBody::from_request(request, app).await?;
        parse(&bytes).map(Self)
    }
}

/// A JSON body without unknown members; no body stands for an empty object.
pub struct OptionalJsonBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for OptionalJsonBody<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Fault> {
        let (parts, body) = request.into_parts();
        let RawBody(bytes) = RawBody::from_request(Request::new(body), app).await?;
        if bytes.is_empty() {
            return parse(b"{}").map(Self);
        }
        require_json(&parts.headers)?;
        parse(&bytes).map(Self)
    }
}

/// The body as `T`.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Fault::new(Kind::INVALID_VALUE, error.to_string()),
        _ => Fault::new(Kind::MALFORMED_REQUEST, error.to_string()),
    })
}

/// Refuses a body of another type than JSON, so that no browser's form can stand for a request.
pub fn require_json(headers: &HeaderMap) -> Result<(), Fault> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = given.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(Fault::new(Kind::UNSUPPORTED_MEDIA_TYPE, "the body must be application/json"))
    }
}

async fn read(body: Body, deadline: Duration) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let late = |_| Fault::new(Kind::REQUEST_TIMEOUT, "the body took too long to arrive");
    time::timeout(deadline, collect(body)).await.map_err(late)?
}

async fn collect(body: Body) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let mut collected = Zeroizing::new(Vec::with_capacity(4096));
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let broken = |_| Fault::new(Kind::MALFORMED_REQUEST, "the body ended early or is malformed");
        collected.extend_from_slice(&chunk.map_err(broken)?);
        if collected.len() > MAX {
            return Err(Fault::new(Kind::BODY_TOO_LARGE, format!("a body has at most {MAX} bytes")));
        }
    }
    Ok(collected)
}
