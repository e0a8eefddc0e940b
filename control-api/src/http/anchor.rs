//! The anchor's head.

use std::sync::Arc;

use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    access::{Access, Administrator},
    operation::operations,
    problem::{Fault, Kind, Problem},
};
use crate::{App, anchor::SignedHead};

/// The operations of this file.
pub fn routes(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(operations(app, Access::Administrator, routes!(head)))
}

/// The anchor's head, signed, after all that is acknowledged by now. Kept elsewhere it shows later whether store and
/// anchor were both put back: `cardhost anchor verify`.
#[utoipa::path(get, path = "/v1/anchor", tag = "audit", responses(
    (status = 200, description = "the head", body = SignedHead),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "unavailable: the anchor cannot be written", body = Problem, content_type = "application/problem+json"),
))]
async fn head(State(app): State<Arc<App>>, _: Administrator) -> Result<Json<SignedHead>, Fault> {
    let unavailable =
        |error: crate::anchor::AnchorError| Fault::new(Kind::UNAVAILABLE, error.to_string()).because(error);
    let mark = app.anchor.export().await.map_err(unavailable)?;
    Ok(Json(SignedHead::sign(app.anchor.id(), mark, app.audit.key())))
}
