//! A card's pairing data: which container answers for the shared identifiers on which protocol.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
};
use cardhost_wire::{
    control::{Answer, Command},
    port::Protocol,
    protocols::{Container, ProtocolPairing},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    access::{Access, Administrator},
    body::JsonBody,
    card_operations::record,
    cards::of_card,
    operation::operations,
    problem::{Fault, Kind, Problem},
};
use crate::{
    App,
    audit::{Action, Entry},
    auth::name::Name,
    card::{CardError, Violation},
};

/// The operations of this file.
pub fn routes(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(operations(app, Access::Administrator, routes!(read, pair)))
}

/// A card's pairing data.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Protocols {
    /// Each of the six protocols (`apdu-gate`, `spi`, `swp-a`, `swp-b`, `iso7816-t0`, `iso7816-t1`) with its one
    /// container, `secure-element`, `uicc` or `second-secure-element`.
    #[schema(value_type = BTreeMap<String, String>)]
    protocols: BTreeMap<Protocol, Container>,
    /// File identifiers, four hexadecimal digits each, that are routed by protocol as the shared AID is; at most 16.
    #[serde(default = "default_files")]
    shared_files: Vec<String>,
}

/// The card's pairing data.
#[utoipa::path(get, path = "/v1/cards/{terminal}/protocols", tag = "cards", params(("terminal" = String, Path)), responses(
    (status = 200, description = "the pairing", body = Protocols),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "not-found: there is no such terminal, or it has no card", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "card-refused", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "card-unavailable", body = Problem, content_type = "application/problem+json"),
))]
async fn read(
    State(app): State<Arc<App>>,
    _: Administrator,
    Path(terminal): Path<String>,
) -> Result<Json<Protocols>, Fault> {
    let terminal = of_card(&app, &terminal).await?;
    paired(&app, &terminal).await
}

/// Pairs each protocol with exactly one container. What a terminal has selected stays so; its next selection of a
/// shared identifier, and its next reset, follow the new pairing. The second secure element gets its first keys when a
/// protocol is first paired with it: they wait at `/v1/terminals/{terminal}/secrets`. Audited.
#[utoipa::path(put, path = "/v1/cards/{terminal}/protocols", tag = "cards", params(("terminal" = String, Path)),
    request_body = Protocols, responses(
    (status = 200, description = "the pairing", body = Protocols),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "not-found: there is no such terminal, or it has no card", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "card-refused", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "invalid-value: a protocol without container, or a malformed file identifier", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "card-unavailable", body = Problem, content_type = "application/problem+json"),
))]
async fn pair(
    State(app): State<Arc<App>>,
    Administrator(caller): Administrator,
    Path(terminal): Path<String>,
    JsonBody(wanted): JsonBody<Protocols>,
) -> Result<Json<Protocols>, Fault> {
    let terminal = of_card(&app, &terminal).await?;
    let pairing = wanted.pairing().map_err(|why| Fault::new(Kind::INVALID_VALUE, why))?;
    match app.cards.command(&terminal, Command::PairProtocols(pairing), None).await? {
        Answer::Done => {}
        _ => return Err(CardError::Misbehaved(Violation::Unexpected).into()),
    }
    record(&app, Entry::new(Action::CardPaired).terminal(&terminal).user(&caller.user)).await?;
    paired(&app, &terminal).await
}

async fn paired(app: &App, terminal: &Name) -> Result<Json<Protocols>, Fault> {
    match app.cards.command(terminal, Command::ReadProtocols, None).await? {
        Answer::Protocols(pairing) if pairing.is_valid() => Ok(Json(Protocols::of(&pairing))),
        _ => Err(CardError::Misbehaved(Violation::Unexpected).into()),
    }
}

impl Protocols {
    fn of(pairing: &ProtocolPairing) -> Self {
        let protocols = Protocol::ALL.map(|protocol| (protocol, pairing.container(protocol)));
        let shared_files = pairing.shared_files().iter().map(|file| format!("{file:04X}")).collect();
        Self { protocols: protocols.into(), shared_files }
    }

    fn pairing(&self) -> Result<ProtocolPairing, String> {
        let missing = Protocol::ALL.into_iter().find(|protocol| !self.protocols.contains_key(protocol));
        if let Some(protocol) = missing {
            return Err(format!("the protocol {protocol} has no container: each of the six has exactly one"));
        }
        let files = self.shared_files.iter().map(|file| file_identifier(file)).collect::<Result<_, _>>()?;
        let pairing = ProtocolPairing::new(|protocol| self.protocols[&protocol], files);
        pairing.map_err(|_| "shared_files has more than 16 file identifiers, or one of them twice".to_owned())
    }
}

fn file_identifier(text: &str) -> Result<u16, String> {
    let mut bytes = [0; 2];
    let malformed = |_| format!("{text:?} is no file identifier: four hexadecimal digits, as 3F00");
    hex::decode_to_slice(text, &mut bytes).map_err(malformed)?;
    Ok(u16::from_be_bytes(bytes))
}

fn default_files() -> Vec<String> {
    Protocols::of(&ProtocolPairing::default()).shared_files
}
