//! Cards as operators see them.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State},
};
use cardhost_wire::launch::Isolation;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    access::{Access, Administrator},
    operation::operations,
    page::Page,
    problem::{Fault, Problem},
};
use crate::{App, auth::name::Name, card::CardStatus};

/// The operations of this file.
pub fn routes(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    let operators = |routes| operations(app, Access::Administrator, routes);
    OpenApiRouter::new().routes(operators(routes!(list))).routes(operators(routes!(read)))
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
pub(super) struct CardEntry {
    terminal: String,
    state: CardStateName,
    /// Why it is refused: `guest-refuses-state`, `state-older-than-anchor`, `state-differs-from-anchor`,
    /// `destroyed-before`, `image-not-adopted` or `image-left-behind`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// Its process, if it is live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    /// What keeps it apart from the host and from other cards when it runs.
    isolation: IsolationName,
    /// Resident memory of the guest, KiB, if it is live; only when one card is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_kib: Option<u64>,
    /// Keys and eUICC profiles provisioned for the user.
    credentials: u32,
    /// SHA-256 of the guest image that wrote its state last, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    /// SHA-256 of the guest image that it runs under, hex, or will at its next start, while that is another one: its
    /// first change makes it `image`.
    #[serde(skip_serializing_if = "Option::is_none")]
    runs_under: Option<String>,
}

/// What keeps cards apart.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum IsolationName {
    /// A virtual machine.
    Microvm,
    /// Only a process: the host runs without virtual machines.
    Process,
}

impl From<Isolation> for IsolationName {
    fn from(isolation: Isolation) -> Self {
        match isolation {
            Isolation::MicroVm => Self::Microvm,
            Isolation::Process => Self::Process,
        }
    }
}

/// Where a card stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum CardStateName {
    /// The terminal has none.
    Absent,
    /// It runs.
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
    let terminal = known(&app, &terminal).await?;
    let status = app.cards.status(&terminal).await?;
    Ok(Json(status.map_or_else(|| CardEntry::absent(&terminal, app.cards.isolation()), CardEntry::from)))
}

/// The terminal of this name.
pub(super) async fn known(app: &App, terminal: &str) -> Result<Name, Fault> {
    let unknown = || Fault::not_found("terminal");
    let terminal: Name = terminal.parse().map_err(|_| unknown())?;
    app.terminals.owner(&terminal).await?.ok_or_else(unknown)?;
    Ok(terminal)
}

/// The terminal's card, which must be there.
pub(super) async fn existing(app: &App, terminal: &Name) -> Result<Json<CardEntry>, Fault> {
    let status = app.cards.status(terminal).await?.ok_or_else(|| Fault::not_found("card"))?;
    Ok(Json(status.into()))
}

/// The terminal of this name, which must have a card.
pub(super) async fn of_card(app: &App, terminal: &str) -> Result<Name, Fault> {
    let terminal = known(app, terminal).await?;
    existing(app, &terminal).await.map(|_| terminal)
}

impl CardEntry {
    fn absent(terminal: &Name, isolation: Isolation) -> Self {
        Self {
            terminal: terminal.to_string(),
            state: CardStateName::Absent,
            reason: None,
            pid: None,
            isolation: isolation.into(),
            memory_kib: None,
            credentials: 0,
            image: None,
            runs_under: None,
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
            isolation: status.isolation.into(),
            memory_kib: status.memory_kib,
            credentials: status.credentials,
            image: Some(hex::encode(status.image)),
            runs_under: status.runs_under.map(hex::encode),
        }
    }
}
