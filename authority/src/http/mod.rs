//! The HTTP interface: one file per group of paths. Status codes are decided here and nowhere else.

mod est;
mod problem;
mod status;
mod verification;

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};

use crate::Authority;
use problem::Problem;

/// Longest request body.
const MAX_BODY: usize = 64 * 1024;

/// True if the connection's client showed a certificate of the service CA.
#[derive(Clone, Copy, Debug)]
pub struct IsHost(pub bool);

/// All paths. Everything that is not public needs a host's credential.
pub fn router(authority: Arc<Authority>) -> Router {
    let hosts = Router::new()
        .route("/.well-known/est/simpleenroll", post(est::enroll))
        .route("/.well-known/est/simplereenroll", post(est::renew))
        .route("/v1/challenges", post(verification::challenge))
        .route("/v1/verifications", post(verification::verify))
        .route("/v1/revocations", post(verification::revoke))
        .layer(middleware::from_fn(only_hosts));
    let public = Router::new()
        .route("/.well-known/est/cacerts", get(est::ca_certificates))
        .route("/crl", get(status::crl))
        .route("/ocsp", post(status::ocsp));
    hosts
        .merge(public)
        .fallback(async || Problem::NOT_FOUND)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(authority)
}

async fn only_hosts(Extension(IsHost(is_host)): Extension<IsHost>, request: Request, next: Next) -> Response {
    if is_host { next.run(request).await } else { Problem::NOT_A_HOST.into_response() }
}
