//! The audit log and the receipts.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    access::{Access, Administrator, Caller},
    operation::operations,
    problem::{Fault, Problem},
};
use crate::{
    App,
    audit::{self, Link, Receipt},
    auth::Role,
};

/// Entries of a page when the caller does not say.
const DEFAULT: u32 = 100;
/// Most entries of a page.
const MAX: u32 = 1000;

/// The operations of this file.
pub fn routes(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(operations(app, Access::Administrator, routes!(list))).routes(operations(
        app,
        Access::User,
        routes!(receipt),
    ))
}

/// Which part of the log.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Part {
    /// Only entries after this sequence number.
    #[serde(default)]
    after: u64,
    /// Entries at most: 1 to 1,000, 100 if absent.
    limit: Option<u32>,
}

/// Some entries of the log.
#[derive(Serialize, ToSchema)]
struct AuditPage {
    entries: Vec<AuditEntry>,
    /// There are more: ask again with `after` set to this.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// The Ed25519 key that signs, hex.
    public_key: String,
}

/// An entry with its place in the chain.
#[derive(Serialize, ToSchema)]
struct AuditEntry {
    /// 1 for the first.
    sequence: u64,
    /// The exact JSON text that was hashed.
    entry: String,
    /// SHA-256 of the previous hash (32 zero bytes before the first) and this text, hex.
    hash: String,
    /// Ed25519 over `cardhost audit v1`, a zero byte, the sequence number (8 bytes, big-endian) and the hash, hex.
    signature: String,
}

/// The host's signed statement that it destroyed a card.
#[derive(Serialize, ToSchema)]
struct ReceiptEntry {
    id: String,
    terminal: String,
    /// The exact JSON text that was signed.
    statement: String,
    /// Ed25519 over `cardhost receipt v1`, a zero byte and the statement, hex.
    signature: String,
    /// The Ed25519 key that signed, hex.
    public_key: String,
}

/// Lists the audit log in its order.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", params(Part), responses(
    (status = 200, description = "entries", body = AuditPage),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
))]
async fn list(
    State(app): State<Arc<App>>,
    _: Administrator,
    Query(part): Query<Part>,
) -> Result<Json<AuditPage>, Fault> {
    let limit = part.limit.unwrap_or(DEFAULT).clamp(1, MAX);
    let links = app.store.read(move |connection| audit::list(connection, part.after, limit)).await?;
    let full = links.len() as u32 == limit;
    let next = links.last().filter(|_| full).map(|link| link.sequence.to_string());
    let entries = links.into_iter().map(AuditEntry::from).collect();
    Ok(Json(AuditPage { entries, next, public_key: hex::encode(app.audit.key().public()) }))
}

/// A receipt. Administrators see all, users those of the terminals that are assigned to them.
#[utoipa::path(get, path = "/v1/receipts/{receipt}", tag = "audit", params(("receipt" = String, Path)), responses(
    (status = 200, description = "the receipt", body = ReceiptEntry),
    (status = 404, description = "not-found", body = Problem, content_type = "application/problem+json"),
))]
async fn receipt(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<ReceiptEntry>, Fault> {
    let unknown = || Fault::not_found("receipt");
    let id: Uuid = id.parse().map_err(|_| unknown())?;
    let audit = app.audit.clone();
    let found = app.store.read(move |connection| audit.receipt(connection, id)).await?.ok_or_else(unknown)?;
    let owner = app.terminals.owner(&found.terminal).await?;
    if caller.role == Role::Administrator || owner == Some(caller.user) {
        Ok(Json(found.into()))
    } else {
        Err(unknown())
    }
}

impl From<Link> for AuditEntry {
    fn from(link: Link) -> Self {
        let Link { sequence, entry, hash, signature } = link;
        Self { sequence, entry, hash: hex::encode(hash), signature: hex::encode(signature) }
    }
}

impl From<Receipt> for ReceiptEntry {
    fn from(receipt: Receipt) -> Self {
        Self {
            id: receipt.id.to_string(),
            terminal: receipt.terminal.into(),
            statement: receipt.statement,
            signature: hex::encode(receipt.signature),
            public_key: hex::encode(receipt.public_key),
        }
    }
}
