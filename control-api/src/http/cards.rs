//! Cards as operators see them.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State},
};
use cardhost_wire::launch::Isolation;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    access::{Access, Administrator, Caller},
    body::OptionalJsonBody,
    operation::operations,
    page::Page,
    problem::{Fault, Kind, Problem},
};
use crate::{
    App,
    audit::{Action, Entry},
    auth::name::Name,
    card::{CardError, CardStatus},
};

/// The operations of this file.
pub fn routes(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    let operators = |routes| operations(app, Access::Administrator, routes);
    OpenApiRouter::new()
        .routes(operators(routes!(list)))
        .routes(operators(routes!(read)))
        .routes(operators(routes!(park)))
        .routes(operators(routes!(wake)))
        .routes(operators(routes!(restore)))
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
    /// Its process, if it is live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    /// What keeps it apart from the host and from other cards when it runs.
    isolation: IsolationName,
    /// Resident memory of the guest, KiB, if it is live; only when one card is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_kib: Option<u64>,
    /// Keys provisioned for the user.
    credentials: u32,
    /// SHA-256 of the guest image, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
}

/// What keeps cards apart.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum IsolationName {
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

/// How to park.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Parking {
    /// Parks the card also if it is in use or has session state on an open channel: exchanges under way are finished,
    /// then the channel sees a reset.
    #[serde(default)]
    force: bool,
}

/// Parks a card: its microVM ends and it is only its sealed state, until its next use starts it.
///
/// A card without session state parks while channels are open, and they see nothing of it. A card that is parked
/// stays so.
#[utoipa::path(post, path = "/v1/cards/{terminal}/park", tag = "cards", params(("terminal" = String, Path)),
    request_body(content = Option<Parking>), responses(
    (status = 200, description = "the card", body = CardEntry),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "not-found: there is no such terminal, or it has no card", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "card-busy: it is in use or has session state on an open channel", body = Problem, content_type = "application/problem+json"),
))]
async fn park(
    State(app): State<Arc<App>>,
    Administrator(caller): Administrator,
    Path(terminal): Path<String>,
    OptionalJsonBody(Parking { force }): OptionalJsonBody<Parking>,
) -> Result<Json<CardEntry>, Fault> {
    let terminal = known(&app, &terminal).await?;
    drop(existing(&app, &terminal).await?);
    let parked = app.cards.park(&terminal, force).await.map_err(|error| match error {
        CardError::Busy => Fault::new(Kind::CARD_BUSY, error.to_string()),
        error => error.into(),
    })?;
    if parked {
        record(&app, Entry::new(Action::CardParked).terminal(&terminal).user(&caller.user)).await?;
    }
    existing(&app, &terminal).await
}

/// Wakes a card: its microVM runs when this answers.
#[utoipa::path(post, path = "/v1/cards/{terminal}/wake", tag = "cards", params(("terminal" = String, Path)), responses(
    (status = 200, description = "the card", body = CardEntry),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "not-found: there is no such terminal, or it has no card", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "card-refused", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "card-unavailable", body = Problem, content_type = "application/problem+json"),
))]
async fn wake(
    State(app): State<Arc<App>>,
    Administrator(caller): Administrator,
    Path(terminal): Path<String>,
) -> Result<Json<CardEntry>, Fault> {
    let terminal = known(&app, &terminal).await?;
    drop(existing(&app, &terminal).await?);
    if app.cards.wake(&terminal).await? {
        record(&app, Entry::new(Action::CardWoken).terminal(&terminal).user(&caller.user)).await?;
    }
    existing(&app, &terminal).await
}

/// The terminal of this name.
async fn known(app: &App, terminal: &str) -> Result<Name, Fault> {
    let unknown = || Fault::not_found("terminal");
    let terminal: Name = terminal.parse().map_err(|_| unknown())?;
    app.terminals.owner(&terminal).await?.ok_or_else(unknown)?;
    Ok(terminal)
}

/// The terminal's card, which must be there.
async fn existing(app: &App, terminal: &Name) -> Result<Json<CardEntry>, Fault> {
    let status = app.cards.status(terminal).await?.ok_or_else(|| Fault::not_found("card"))?;
    Ok(Json(status.into()))
}

async fn record(app: &App, entry: Entry) -> Result<(), Fault> {
    let audit = app.audit.clone();
    Ok(app.store.write(move |transaction| audit.append(transaction, &entry)).await?)
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
        }
    }
}
