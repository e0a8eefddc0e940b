//! Cards as operators see them.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    access::{Access, Administrator, Caller},
    operation::operations,
    page::Page,
    problem::{Fault, Problem},
};
use crate::{App, auth::name::Name, card::CardStatus};

/// The operations of this file.
pub fn routes(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(operations(app, Access::Administrator, routes!(list)))
        .routes(operations(app, Access::Administrator, routes!(read)))
        .routes(operations(app, Access::Administrator, routes!(restore)))
}

/// Some cards, in the order of their terminals' names.
#[derive(Serialize, ToSchema)]
struct CardPage {
    cards: Vec<CardEntry>,
    /// There are more: ask again with `after` set to this.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A terminal's card.
#[derive(Serialize, ToSchema)]
struct CardEntry {
    terminal: String,
    state: CardStateName,
    /// Why it is refused: `guest-refuses-state`, `state-older-than-anchor`, `state-differs-from-anchor` or
    /// `destroyed-before`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// The microVM's process, if it is live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    /// Resident memory of the guest, KiB, if it is live; only when one card is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_kib: Option<u64>,
    /// Keys provisioned for the user.
    credentials: u32,
    /// SHA-256 of the guest image, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
}

/// Where a card stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum CardStateName {
    /// The terminal has none.
    Absent,
    /// Its microVM runs.
    Live,
    /// It is only its sealed state; its next use starts it.
    Parked,
    /// It does not start until somebody acts; `reason` says why.
    Refused,
}

/// Lists cards.
#[utoipa::path(get, path = "/v1/cards", tag = "cards", params(Page), responses(
    (status = 200, description = "cards", body = CardPage),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
))]
async fn list(
    State(app): State<Arc<App>>,
    _: Administrator,
    Query(page): Query<Page>,
) -> Result<Json<CardPage>, Fault> {
    let cards = app.cards.list(page.after(), page.limit()).await?;
    let cards = app.cards.with_memory(cards).await;
    let next = page.next(&cards, |card| card.terminal.to_string());
    Ok(Json(CardPage { cards: cards.into_iter().map(CardEntry::from).collect(), next }))
}

/// A terminal's card; its state is `absent` if the terminal has none.
#[utoipa::path(get, path = "/v1/cards/{terminal}", tag = "cards", params(("terminal" = String, Path)), responses(
    (status = 200, description = "the card", body = CardEntry),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "not-found: there is no such terminal", body = Problem, content_type = "application/problem+json"),
))]
async fn read(
    State(app): State<Arc<App>>,
    _: Administrator,
    Path(terminal): Path<String>,
) -> Result<Json<CardEntry>, Fault> {
    let unknown = || Fault::not_found("terminal");
    let terminal: Name = terminal.parse().map_err(|_| unknown())?;
    app.terminals.owner(&terminal).await?.ok_or_else(unknown)?;
    let status = app.cards.status(&terminal).await?;
    Ok(Json(status.map_or_else(|| CardEntry::absent(&terminal), CardEntry::from)))
}

/// Accepts the stored state of a card that is refused because an old state was put back. The card goes on from there:
/// retry counters and keys are those of the old state. Audited.
#[utoipa::path(post, path = "/v1/cards/{terminal}/restore", tag = "cards", params(("terminal" = String, Path)), responses(
    (status = 200, description = "the card", body = CardEntry),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "not-found: there is no such terminal", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "card-absent; conflict: no old state was put back", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "unavailable: the anchor cannot be written", body = Problem, content_type = "application/problem+json"),
))]
async fn restore(
    app: State<Arc<App>>,
    administrator: Administrator,
    terminal: Path<String>,
) -> Result<Json<CardEntry>, Fault> {
    if let Ok(name) = terminal.parse()
        && app.terminals.owner(&name).await?.is_some()
    {
        let Administrator(Caller { user, .. }) = &administrator;
        app.cards.restore(&name, user).await?;
    }
    read(app, administrator, terminal).await
}

impl CardEntry {
    fn absent(terminal: &Name) -> Self {
        Self {
            terminal: terminal.to_string(),
            state: CardStateName::Absent,
            reason: None,
            pid: None,
            memory_kib: None,
            credentials: 0,
            image: None,
        }
    }
}

impl From<CardStatus> for CardEntry {
    fn from(status: CardStatus) -> Self {
        let state = match (&status.refused, status.pid) {
            (Some(_), _) => CardStateName::Refused,
            (None, Some(_)) => CardStateName::Live,
            (None, None) => CardStateName::Parked,
        };
        Self {
            terminal: status.terminal.into(),
            state,
            reason: status.refused.map(|why| why.name()),
            pid: status.pid,
            memory_kib: status.memory_kib,
            credentials: status.credentials,
            image: Some(hex::encode(status.image)),
        }
    }
}
