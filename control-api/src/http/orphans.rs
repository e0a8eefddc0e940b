//! Certificates that an operator has to revoke where they were issued.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    access::{Access, Administrator},
    operation::operations,
    problem::{Fault, Problem},
};
use crate::{App, lifecycle::Orphan};

/// The operations of this file.
pub fn routes(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(operations(app, Access::Administrator, routes!(list))).routes(operations(
        app,
        Access::Administrator,
        routes!(resolve),
    ))
}

/// What is left to revoke.
#[derive(Serialize, ToSchema)]
struct OrphanList {
    orphans: Vec<OrphanEntry>,
}

/// A certificate, or a certification request whose answer was lost, without a key in any card.
#[derive(Serialize, ToSchema)]
struct OrphanEntry {
    id: i64,
    /// The terminal it came from.
    terminal: String,
    /// PEM.
    pem: String,
    /// Why, as RFC 5280 names it.
    reason: String,
}

/// Lists what an authority that does not revoke by itself may have issued and nobody has a key for.
#[utoipa::path(get, path = "/v1/orphans", tag = "certificates", responses(
    (status = 200, description = "orphans", body = OrphanList),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
))]
async fn list(State(app): State<Arc<App>>, _: Administrator) -> Result<Json<OrphanList>, Fault> {
    let orphans = app.life_cycle.orphans().await?;
    Ok(Json(OrphanList { orphans: orphans.into_iter().map(OrphanEntry::from).collect() }))
}

/// States that an orphan was revoked where it was issued.
#[utoipa::path(delete, path = "/v1/orphans/{orphan}", tag = "certificates", params(("orphan" = i64, Path)), responses(
    (status = 204, description = "no longer listed"),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "not-found", body = Problem, content_type = "application/problem+json"),
))]
async fn resolve(
    State(app): State<Arc<App>>,
    _: Administrator,
    Path(orphan): Path<String>,
) -> Result<StatusCode, Fault> {
    let unknown = || Fault::not_found("orphan");
    let id = orphan.parse().map_err(|_| unknown())?;
    match app.life_cycle.resolve_orphan(id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(unknown()),
    }
}

impl From<Orphan> for OrphanEntry {
    fn from(orphan: Orphan) -> Self {
        let Orphan { id, terminal, pem, reason } = orphan;
        Self { id, terminal: terminal.into(), pem, reason }
    }
}
