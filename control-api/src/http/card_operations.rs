//! What operators do with a terminal's card: each looks it up, acts, audits what was news, and answers with the card as
//! it is then.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    access::{Access, Administrator},
    body::OptionalJsonBody,
    cards::{CardEntry, existing, known},
    operation::operations,
    problem::{Fault, Kind, Problem},
};
use crate::{
    App,
    audit::{Action, Entry},
    auth::name::Name,
    card::CardError,
};

/// The operations of this file.
pub fn routes(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    let operators = |routes| operations(app, Access::Administrator, routes);
    OpenApiRouter::new()
        .routes(operators(routes!(park)))
        .routes(operators(routes!(wake)))
        .routes(operators(routes!(restore)))
        .routes(operators(routes!(adopt)))
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
    administrator: Administrator,
    Path(terminal): Path<String>,
    OptionalJsonBody(Parking { force }): OptionalJsonBody<Parking>,
) -> Result<Json<CardEntry>, Fault> {
    let park = async |card: &Name| match app.cards.park(card, force).await {
        Err(error @ CardError::Busy) => Err(Fault::new(Kind::CARD_BUSY, error.to_string())),
        parked => Ok(parked?.then_some(Action::CardParked)),
    };
    operate(&app, &administrator, &terminal, park).await
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
    administrator: Administrator,
    Path(terminal): Path<String>,
) -> Result<Json<CardEntry>, Fault> {
    let wake = async |card: &Name| Ok(app.cards.wake(card).await?.then_some(Action::CardWoken));
    operate(&app, &administrator, &terminal, wake).await
}

/// Accepts the stored state of a card that is refused because an old state was put back. The card goes on from there:
/// retry counters and keys are those of the old state. Audited.
#[utoipa::path(post, path = "/v1/cards/{terminal}/restore", tag = "cards", params(("terminal" = String, Path)), responses(
    (status = 200, description = "the card", body = CardEntry),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "not-found: there is no such terminal, or it has no card", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "conflict: no old state was put back", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "unavailable: the anchor cannot be written", body = Problem, content_type = "application/problem+json"),
))]
async fn restore(
    State(app): State<Arc<App>>,
    administrator: Administrator,
    Path(terminal): Path<String>,
) -> Result<Json<CardEntry>, Fault> {
    let Administrator(caller) = &administrator;
    let restore = async |card: &Name| Ok(app.cards.restore(card, &caller.user).await.map(|()| None)?);
    operate(&app, &administrator, &terminal, restore).await
}

/// Allows the host's guest image for a card that another image wrote last; where images are pinned it is refused before.
/// The card starts under either until it changes for the first time under the host's, and never under the other one
/// after. A card that is allowed already stays so. Audited.
#[utoipa::path(post, path = "/v1/cards/{terminal}/adopt", tag = "cards", params(("terminal" = String, Path)), responses(
    (status = 200, description = "the card", body = CardEntry),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "not-found: there is no such terminal, or it has no card", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "already-adopted: the host's image wrote it last; image-left-behind: it was moved away from the host's image", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "card-unavailable: the launcher does not answer", body = Problem, content_type = "application/problem+json"),
))]
async fn adopt(
    State(app): State<Arc<App>>,
    administrator: Administrator,
    Path(terminal): Path<String>,
) -> Result<Json<CardEntry>, Fault> {
    let Administrator(caller) = &administrator;
    let adopt = async |card: &Name| Ok(app.cards.adopt(card, &caller.user).await.map(|_| None)?);
    operate(&app, &administrator, &terminal, adopt).await
}

/// Acts on the terminal's card. What it tells is audited here; what has to be audited with its effect is by then.
async fn operate(
    app: &App,
    Administrator(caller): &Administrator,
    terminal: &str,
    act: impl AsyncFnOnce(&Name) -> Result<Option<Action>, Fault>,
) -> Result<Json<CardEntry>, Fault> {
    let terminal = known(app, terminal).await?;
    drop(existing(app, &terminal).await?);
    if let Some(action) = act(&terminal).await? {
        record(app, Entry::new(action).terminal(&terminal).user(&caller.user)).await?;
    }
    existing(app, &terminal).await
}

/// Appends an entry of its own to the audit log.
pub(super) async fn record(app: &App, entry: Entry) -> Result<(), Fault> {
    let audit = app.audit.clone();
    Ok(app.store.write(move |transaction| audit.append(transaction, &entry)).await?)
}
