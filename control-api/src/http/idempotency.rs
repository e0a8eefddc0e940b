//! `Idempotency-Key`: a creating request that is sent again gets the first one's answer.
//!
//! The key is scoped to the user and the path. The store holds the key's hash and an HMAC of the body under the
//! key itself, so that a body with a PIN cannot be guessed from the store.

use std::{future::Future, sync::Arc};

use axum::{
    extract::{FromRequest, Request},
    http::request::Parts,
};
use ring::hmac;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use utoipa::IntoParams;

use super::{
    access::Caller,
    body::{self, RawBody},
    problem::{Fault, Kind},
};
use crate::App;
use crate::store::idempotency::{Beginning, Idempotency, IdempotencyId};

/// Longest key, bytes.
const MAX_KEY: usize = 255;

/// The header, for the OpenAPI document.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes a header that the extractor reads by itself")]
pub struct IdempotencyKey {
    /// Same key and same body: same answer, done once. Same key and another body: idempotency-key-reused.
    #[param(rename = "Idempotency-Key", required = false, max_length = 255)]
    idempotency_key: Option<String>,
}

/// A creating request, and under which key if any. No body stands for an empty object.
pub struct Idempotent<T> {
    request: T,
    key: Option<Keyed>,
}

struct Keyed {
    id: IdempotencyId,
    body: [u8; 32],
}

impl<T> Idempotent<T> {
    /// Does the work, unless a request with this key was answered before: then that answer comes again.
    pub async fn perform<A, F>(self, store: &Idempotency, work: impl FnOnce(T) -> F) -> Result<A, Fault>
    where
        A: Serialize + DeserializeOwned,
        F: Future<Output = Result<A, Fault>>,
    {
        let Some(Keyed { id, body }) = self.key else { return work(self.request).await };
        match store.begin(id, body).await? {
            Beginning::First => {}
            Beginning::Answered(answer) => return serde_json::from_str(&answer).map_err(Fault::internal),
            Beginning::UnderWay => return Err(under_way()),
            Beginning::OtherRequest => return Err(reused()),
        }
        match work(self.request).await {
            Ok(answer) => {
                let text = serde_json::to_string(&answer).map_err(Fault::internal)?;
                store.answered(id, text).await?;
                Ok(answer)
            }
            Err(fault) => {
                store.forget(id).await?;
                Err(fault)
            }
        }
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Idempotent<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Fault> {
        let (parts, body) = request.into_parts();
        let key = key(&parts)?;
        let RawBody(bytes) = RawBody::from_request(Request::new(body), app).await?;
        let key = key.map(|key| keyed(&parts, &key, &bytes)).transpose()?;
        if bytes.is_empty() {
            return Ok(Self { request: body::parse(b"{}")?, key });
        }
        body::require_json(&parts.headers)?;
        Ok(Self { request: body::parse(&bytes)?, key })
    }
}

fn key(parts: &Parts) -> Result<Option<Vec<u8>>, Fault> {
    let Some(value) = parts.headers.get("idempotency-key") else { return Ok(None) };
    if value.is_empty() || value.len() > MAX_KEY {
        return Err(Fault::new(Kind::INVALID_VALUE, "an Idempotency-Key has 1 to 255 bytes"));
    }
    Ok(Some(value.as_bytes().to_vec()))
}

fn keyed(parts: &Parts, key: &[u8], body: &[u8]) -> Result<Keyed, Fault> {
    let caller = parts.extensions.get::<Caller>();
    let caller = caller.ok_or_else(|| Fault::new(Kind::INTERNAL, "a creating operation has no caller"))?;
    let mut id = Sha256::new();
    for part in [caller.user.as_str().as_bytes(), parts.uri.path().as_bytes(), key] {
        id.update((part.len() as u64).to_le_bytes());
        id.update(part);
    }
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), body);
    let mut body = [0; 32];
    body.copy_from_slice(mac.as_ref());
    Ok(Keyed { id: id.finalize().into(), body })
}

fn under_way() -> Fault {
    let detail = "a request with this Idempotency-Key is still under way";
    Fault::new(Kind::IDEMPOTENCY_IN_PROGRESS, detail).retry_after(1)
}

fn reused() -> Fault {
    Fault::new(Kind::IDEMPOTENCY_KEY_REUSED, "this Idempotency-Key was used for another request")
}
