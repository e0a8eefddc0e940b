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

use crate::{Authority, ca::CaName};
use problem::Problem;

/// Longest request body.
const MAX_BODY: usize = 64 * 1024;

/// True if the connection's client showed a certificate of the service CA.
#[derive(Clone, Copy, Debug)]
pub struct IsHost(pub bool);

/// All paths. Everything that is not public needs a host's credential.
pub fn router(authority: Arc<Authority>) -> Router {
    let hosts = Router::new()
        .nest("/.well-known/est", enrolment(CaName::Issuing))
        .nest("/.well-known/est/pairing-cards", enrolment(CaName::PairingCards))
        .nest("/.well-known/est/pairing-terminals", enrolment(CaName::PairingTerminals))
        .route("/v1/challenges", post(verification::challenge))
        .route("/v1/verifications", post(verification::verify))
        .route("/v1/revocations", post(verification::revoke))
        .layer(middleware::from_fn(only_hosts));
    let public = Router::new()
        .nest("/.well-known/est", certificates(CaName::Issuing))
        .nest("/.well-known/est/pairing-cards", certificates(CaName::PairingCards))
        .nest("/.well-known/est/pairing-terminals", certificates(CaName::PairingTerminals))
        .merge(list("/crl", CaName::Issuing))
        .merge(list("/pairing/crl", CaName::PairingTerminals))
        .route("/ocsp", post(status::ocsp));
    hosts
        .merge(public)
        .fallback(async || Problem::NOT_FOUND)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(authority)
}

type Routes = Router<Arc<Authority>>;

/// What hosts ask of this authority by EST.
fn enrolment(ca: CaName) -> Routes {
    Router::new()
        .route("/simpleenroll", post(est::enroll))
        .route("/simplereenroll", post(est::renew))
        .layer(Extension(ca))
}

/// What anybody asks of it by EST.
fn certificates(ca: CaName) -> Routes {
    Router::new().route("/cacerts", get(est::ca_certificates)).layer(Extension(ca))
}

/// Its CRL at this path.
fn list(path: &str, ca: CaName) -> Routes {
    Router::new().route(path, get(status::crl)).layer(Extension(ca))
}

async fn only_hosts(Extension(IsHost(is_host)): Extension<IsHost>, request: Request, next: Next) -> Response {
    if is_host { next.run(request).await } else { Problem::NOT_A_HOST.into_response() }
}
