//! Certificate status for anybody: CRL and OCSP.

use std::sync::Arc;

use axum::{
    Extension,
    body::Bytes,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use super::problem::{Problem, internal};
use crate::{Authority, ca::CaName};

/// `GET /crl`, `GET /pairing/crl`: the latter of terminals, since no terminal needs one of cards.
pub async fn crl(
    State(authority): State<Arc<Authority>>,
    Extension(ca): Extension<CaName>,
) -> Result<Response, Problem> {
    let crl = tokio::task::spawn_blocking(move || authority.crl(ca));
    let crl = crl.await.map_err(|error| internal(&error))??;
    Ok(([(header::CONTENT_TYPE, "application/pkix-crl")], crl).into_response())
}

/// `POST /ocsp`.
pub async fn ocsp(State(authority): State<Arc<Authority>>, body: Bytes) -> Result<Response, Problem> {
    let answer = tokio::task::spawn_blocking(move || authority.ocsp(&body)).await;
    let answer = answer.map_err(|error| internal(&error))?;
    Ok(([(header::CONTENT_TYPE, "application/ocsp-response")], answer).into_response())
}
