//! The terminal channel: a WebSocket that carries APDUs to one card on one communication protocol.
//!
//! | message | from the terminal | from the host |
//! |---|---|---|
//! | binary | one command APDU | one response APDU |
//! | text | `{"op":"power-on"}`, `{"op":"power-off"}`, `{"op":"reset"}` | `{"event":"present","atr":hex}`, `{"event":"absent","reason":…}` |

mod conversation;
mod message;
mod registry;

use std::sync::Arc;

use axum::{
    extract::{
        Query, State, WebSocketUpgrade, rejection::QueryRejection, ws::rejection::WebSocketUpgradeRejection,
    },
    response::Response,
};
use cardhost_wire::{apdu::MAX_COMMAND, port::Protocol};
use serde::Deserialize;
use tracing::Instrument as _;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    access::{Access, AssignedTerminal, AuthenticatedDevice, Caller},
    operation::operations,
    problem::{Fault, Kind, Problem},
};
use crate::App;

pub use registry::{Admission, Channels};

/// Bytes that are read from a connection at a time. Each open channel has this buffer, so it is small: most APDUs fit,
/// and a longer one takes several reads.
const READ: usize = 1024;

/// The WebSocket subprotocol.
pub const SUBPROTOCOL: &str = "apdu.cardhost.v1";

/// The operations of this file.
pub fn routes(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(operations(app, Access::TerminalUse, routes!(open)))
}

/// Which protocol of the card.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Selection {
    /// `apdu-gate` (default), `spi`, `swp-a`, `swp-b`, `iso7816-t0` or `iso7816-t1`.
    #[param(value_type = Option<String>)]
    protocol: Option<Protocol>,
}

/// Opens a channel to the terminal's card, by WebSocket.
///
/// Needs, beside the token, a connection with a client certificate of this terminal, and the subprotocol
/// `apdu.cardhost.v1`. A terminal without a card gets `absent`, and `present` as soon as the first certificate makes
/// the card. Opening, closing and reset clear the session state of the protocol.
#[utoipa::path(get, path = "/v1/terminals/{terminal}/channel", tag = "channel",
    params(("terminal" = String, Path), Selection), responses(
    (status = 101, description = "the channel is open"),
    (status = 403, description = "terminal-not-assigned, device-certificate-required", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "channel-in-use", body = Problem, content_type = "application/problem+json"),
    (status = 426, description = "upgrade-required", body = Problem, content_type = "application/problem+json"),
))]
async fn open(
    State(app): State<Arc<App>>,
    assigned: AssignedTerminal,
    selection: Result<Query<Selection>, QueryRejection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Fault> {
    let device = assigned.require_device()?;
    let protocol = selection.map_err(|error| Fault::new(Kind::INVALID_VALUE, error.body_text()))?.protocol();
    let upgrade = accepted(upgrade)?;
    let channel = app.cards.open(&assigned.terminal, protocol).await?;
    let span = tracing::info_span!("channel", terminal = %assigned.terminal, %protocol);
    let place = app.channels.enter(Admission::new(assigned, device));
    let end = app.end.clone();
    Ok(upgrade.on_upgrade(move |socket| conversation::hold(socket, channel, place, end).instrument(span)))
}

impl Selection {
    fn protocol(&self) -> Protocol {
        self.protocol.unwrap_or(Protocol::ApduGate)
    }
}

impl Admission {
    fn new(assigned: AssignedTerminal, AuthenticatedDevice(device): AuthenticatedDevice) -> Self {
        let AssignedTerminal { terminal, caller } = assigned;
        let Caller { user, session, expires_at, .. } = caller;
        Self { terminal, user, session, device: device.fingerprint, expires_at }
    }
}

/// The upgrade with its bounds, if it is one to this subprotocol.
fn accepted(upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>) -> Result<WebSocketUpgrade, Fault> {
    let upgrade = upgrade.map_err(|error| upgrade_required(&error.body_text()))?;
    let upgrade = upgrade.max_message_size(MAX_COMMAND).max_frame_size(MAX_COMMAND);
    let upgrade = upgrade.read_buffer_size(READ).write_buffer_size(0).protocols([SUBPROTOCOL]);
    match upgrade.selected_protocol() {
        Some(_) => Ok(upgrade),
        None => Err(upgrade_required("it is not offered")),
    }
}

fn upgrade_required(why: &str) -> Fault {
    Fault::new(
        Kind::UPGRADE_REQUIRED,
        format!("a channel is a WebSocket with the subprotocol {SUBPROTOCOL}: {why}"),
    )
}
