//! A card's pairings with terminals.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use cardhost_wire::{
    control::{Answer, Command},
    pairing::{MAX_PAIRINGS, MAX_TERMINAL_NAME, Pairing, PairingCommand, PairingPolicy, Pairings},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    access::{Access, Administrator, AssignedTerminal},
    body::JsonBody,
    card_operations::record,
    cards::{existing, known},
    operation::operations,
    problem::{Fault, Kind, Problem},
};
use crate::{
    App,
    audit::{Action, Entry},
    auth::name::Name,
    card::{CardError, Violation},
};

/// Longest serial number of a certificate (RFC 5280, 4.1.2.2), bytes.
const MAX_SERIAL: usize = 20;

/// The operations of this file.
pub fn routes(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(operations(app, Access::TerminalLifeCycle, routes!(list, delete_all)))
        .routes(operations(app, Access::TerminalLifeCycle, routes!(delete)))
        .routes(operations(app, Access::Administrator, routes!(set_policy)))
}

/// What a card knows of pairing.
#[derive(Serialize, ToSchema)]
struct PairingList {
    /// False as long as no authority has certified the card's key, which an EST server of another maker never does: then
    /// no terminal can pair.
    certified: bool,
    policy: Policy,
    /// Number of the newest revocation list that the card accepted.
    revocations: Option<u64>,
    /// At most 16.
    pairings: Vec<PairingEntry>,
}

/// A pairing.
#[derive(Serialize, ToSchema)]
struct PairingEntry {
    /// Version number of its key set, two hexadecimal digits.
    #[schema(example = "60")]
    id: String,
    /// The paired terminal's name.
    terminal: String,
    /// Serial number of the certificate that it paired with, hex.
    serial: String,
}

/// What a terminal that is not paired may do.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum Policy {
    /// Everything, in plain.
    Open,
    /// Nothing but to pair itself.
    PairedOnly,
}

/// The policy that a card is to have.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PolicySetting {
    policy: Policy,
}

/// What was ended.
#[derive(Serialize, ToSchema)]
struct EndedPairings {
    /// How many pairings.
    revoked: usize,
}

/// The terminals that are paired with the card, and what others may do.
#[utoipa::path(get, path = "/v1/cards/{terminal}/pairings", tag = "cards", params(("terminal" = String, Path)), responses(
    (status = 200, description = "the pairings", body = PairingList),
    (status = 403, description = "terminal-not-assigned", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "not-found: there is no such terminal, or it has no card", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "card-refused", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "card-unavailable", body = Problem, content_type = "application/problem+json"),
))]
async fn list(
    State(app): State<Arc<App>>,
    AssignedTerminal { terminal, .. }: AssignedTerminal,
) -> Result<Json<PairingList>, Fault> {
    read(&app, &terminal).await.map(|pairings| Json(pairings.into()))
}

/// Sets what terminals that are not paired may do. Audited.
#[utoipa::path(put, path = "/v1/cards/{terminal}/pairings", tag = "cards", params(("terminal" = String, Path)),
    request_body = PolicySetting, responses(
    (status = 200, description = "the pairings", body = PairingList),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "not-found: there is no such terminal, or it has no card", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "pairing-unavailable: the card is not certified, so that nothing could use it any more; card-refused", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "card-unavailable", body = Problem, content_type = "application/problem+json"),
))]
async fn set_policy(
    State(app): State<Arc<App>>,
    Administrator(caller): Administrator,
    Path(terminal): Path<String>,
    JsonBody(wanted): JsonBody<PolicySetting>,
) -> Result<Json<PairingList>, Fault> {
    let terminal = known(&app, &terminal).await?;
    let pairings = read(&app, &terminal).await?;
    if wanted.policy == Policy::PairedOnly && !pairings.certified {
        return Err(not_certified(&app));
    }
    done(&app, &terminal, PairingCommand::SetPolicy(wanted.policy.into())).await?;
    let entry = Entry::new(Action::PairingPolicySet).terminal(&terminal).user(&caller.user);
    record(&app, entry.detail("policy", wanted.policy.name())).await?;
    told(&app, &terminal).await.map(|pairings| Json(pairings.into()))
}

/// Ends a pairing: its keys are erased in the card, and a session under them ends. The terminal can pair again, unless
/// its certificate is revoked: delete its device for that. Audited.
#[utoipa::path(delete, path = "/v1/cards/{terminal}/pairings/{pairing}", tag = "cards",
    params(("terminal" = String, Path), ("pairing" = String, Path)), responses(
    (status = 204, description = "ended"),
    (status = 403, description = "terminal-not-assigned", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "not-found: there is no such pairing, or no card", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "card-refused", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "card-unavailable", body = Problem, content_type = "application/problem+json"),
))]
async fn delete(
    State(app): State<Arc<App>>,
    AssignedTerminal { terminal, caller }: AssignedTerminal,
    Path((_, pairing)): Path<(String, String)>,
) -> Result<StatusCode, Fault> {
    let pairings = read(&app, &terminal).await?;
    let found = pairings.pairings.iter().find(|found| id(found).eq_ignore_ascii_case(&pairing));
    end(&app, &terminal, &caller.user, found.ok_or_else(|| Fault::not_found("pairing"))?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends all pairings of the card. Audited.
#[utoipa::path(delete, path = "/v1/cards/{terminal}/pairings", tag = "cards", params(("terminal" = String, Path)), responses(
    (status = 200, description = "ended", body = EndedPairings),
    (status = 403, description = "terminal-not-assigned", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "not-found: there is no such terminal, or it has no card", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "card-refused", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "card-unavailable", body = Problem, content_type = "application/problem+json"),
))]
async fn delete_all(
    State(app): State<Arc<App>>,
    AssignedTerminal { terminal, caller }: AssignedTerminal,
) -> Result<Json<EndedPairings>, Fault> {
    let pairings = read(&app, &terminal).await?.pairings;
    for pairing in &pairings {
        end(&app, &terminal, &caller.user, pairing).await?;
    }
    Ok(Json(EndedPairings { revoked: pairings.len() }))
}

/// What the terminal's card, which must be there, tells of its pairings.
async fn read(app: &App, terminal: &Name) -> Result<Pairings, Fault> {
    existing(app, terminal).await.map(drop)?;
    told(app, terminal).await
}

async fn told(app: &App, terminal: &Name) -> Result<Pairings, Fault> {
    match ask(app, terminal, PairingCommand::Read).await? {
        Answer::Pairings(pairings) if is_plausible(&pairings) => Ok(pairings),
        _ => Err(CardError::Misbehaved(Violation::Unexpected).into()),
    }
}

async fn end(app: &App, terminal: &Name, by: &Name, pairing: &Pairing) -> Result<(), Fault> {
    done(app, terminal, PairingCommand::Delete(pairing.kvn)).await?;
    let entry = Entry::new(Action::PairingDeleted).terminal(terminal).user(by);
    let entry = entry.detail("pairing", id(pairing)).detail("paired-terminal", shown(&pairing.terminal));
    record(app, entry.detail("serial", hex::encode(&pairing.serial))).await
}

async fn done(app: &App, terminal: &Name, command: PairingCommand) -> Result<(), Fault> {
    match ask(app, terminal, command).await? {
        Answer::Done => Ok(()),
        _ => Err(CardError::Misbehaved(Violation::Unexpected).into()),
    }
}

async fn ask(app: &App, terminal: &Name, command: PairingCommand) -> Result<Answer, CardError> {
    app.cards.command(terminal, Command::Pairing(command), None).await
}

/// What a card tells is its own word: it stands in answers and in the audit log.
fn is_plausible(told: &Pairings) -> bool {
    let bounded =
        |pairing: &Pairing| pairing.terminal.len() <= MAX_TERMINAL_NAME && pairing.serial.len() <= MAX_SERIAL;
    told.pairings.len() <= MAX_PAIRINGS && told.pairings.iter().all(bounded)
}

/// A name that moves no cursor.
fn shown(name: &str) -> String {
    let visible =
        |character: char| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
    name.chars().map(visible).collect()
}

fn not_certified(app: &App) -> Fault {
    let why = match app.life_cycle.authority().offers_pairing() {
        true => "the card's key is not certified yet: it is with the terminal's next certificate",
        false => "this authority certifies no keys for pairing",
    };
    Fault::new(Kind::PAIRING_UNAVAILABLE, format!("no terminal can pair with the card: {why}"))
}

fn id(pairing: &Pairing) -> String {
    format!("{:02X}", pairing.kvn)
}

impl Policy {
    const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::PairedOnly => "paired-only",
        }
    }
}

impl From<Policy> for PairingPolicy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Open => Self::Open,
            Policy::PairedOnly => Self::PairedOnly,
        }
    }
}

impl From<PairingPolicy> for Policy {
    fn from(policy: PairingPolicy) -> Self {
        match policy {
            PairingPolicy::Open => Self::Open,
            PairingPolicy::PairedOnly => Self::PairedOnly,
        }
    }
}

impl From<Pairings> for PairingList {
    fn from(told: Pairings) -> Self {
        let entry = |pairing: Pairing| PairingEntry {
            id: id(&pairing),
            serial: hex::encode(&pairing.serial),
            terminal: shown(&pairing.terminal),
        };
        Self {
            certified: told.certified,
            policy: told.policy.into(),
            revocations: told.revocations,
            pairings: told.pairings.into_iter().map(entry).collect(),
        }
    }
}
