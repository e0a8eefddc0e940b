//! Live cards: one task per running microVM, which owns the card's link, and a registry of them by terminal.
//!
//! ```text
//!            first use: launch, state in, Started                 last credential gone: answer delivered
//! parked ────────────────────────────────────────▶ live ─────────────────────────────────────────────────▶ ending
//!   ▲ ▲                                            │  │ unused, without session state: channels see nothing
//!   │ └────────────────────────────────────────────┘  │
//!   └─────────────────────────────────────────────────┘ crash, protocol violation, time-out, launcher gone, an
//!                                                       operator who insists: channels see a reset
//! ```
//!
//! Every card is parked when the daemon starts. A live card that is idle parks by policy, or makes room for another. What a guest says is checked before it is used; one that breaks the protocol is killed.

mod adoption;
mod channel;
mod entry;
mod guest;
mod life;
mod limits;
mod link;
mod live;
mod pairing;
mod park;
mod policy;
mod ports;
mod refused;
mod registry;
mod rollback;
mod roster;
mod start;
mod status;
mod task;

use std::{sync::Arc, time::Duration};

use cardhost_wire::control::Failure;

pub use adoption::Adoption;
pub use channel::Channel;
pub use limits::{ApduRate, Settings};
pub use policy::{MalformedPolicy, ParkPolicy};
pub use refused::Refused;
pub use registry::Cards;
pub use status::CardStatus;

use crate::{anchor::AnchorError, launcher::LauncherError, store::StoreError};

/// How long a card may take from its launch until it is started.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a guest may take to accept a stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a guest may take to tell its sessions' state.
const SESSION_STATE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a command of the host may take; RSA-3072 key generation is the longest.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a card did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// The terminal has no card.
    #[error("the terminal has no card")]
    Absent,
    /// A channel of this terminal and protocol is open already.
    #[error("a channel of this terminal and protocol is open")]
    ChannelInUse,
    /// The card's microVM cannot be started.
    #[error("the card cannot be started")]
    Launcher(#[from] LauncherError),
    /// The host's store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It does not start until somebody acts.
    #[error("the card is refused: {0}")]
    Refused(Refused),
    /// No old state of it was put back.
    #[error("the card is not refused for an old state")]
    NotRolledBack,
    /// The host's guest image wrote its state last.
    #[error("the card is of the host's guest image already: there is nothing to adopt")]
    ImageSettled,
    /// It was moved away from the host's guest image.
    #[error("a later guest image wrote the card's state: it does not come back to this one")]
    ImageLeftBehind,
    /// The anchor cannot be written.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The guest ended while it was asked.
    #[error("the card stopped")]
    Stopped,
    /// The guest did not answer in time and was ended.
    #[error("the card did not answer in time")]
    TimedOut,
    /// The guest broke the protocol and was ended.
    #[error("the card misbehaved: {0}")]
    Misbehaved(Violation),
    /// Something is under way with this card, or too much waits for it.
    #[error("the card is busy")]
    Busy,
    /// A terminal would notice if the card was switched off.
    #[error("the card has session state on an open channel")]
    InSession,
    /// As many cards are live as may be, and none of those that were asked can park.
    #[error("as many cards are live as may be, and none of them can park now")]
    TooManyLive,
    /// The command APDU is longer than any (ISO/IEC 7816-4).
    #[error("the command is too long")]
    TooLong,
    /// The guest checked the host's command and declined it.
    #[error("the card declined: {0:?}")]
    Declined(Failure),
    /// The operating system gave no socket or randomness.
    #[error("the host has no resources for a card")]
    Resources(#[source] std::io::Error),
}

/// How a guest broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A malformed frame, message or report.
    #[error("malformed message")]
    Malformed,
    /// A message that nothing asked for.
    #[error("unexpected message")]
    Unexpected,
    /// It refused or closed a stream that it must keep.
    #[error("stream closed")]
    StreamClosed,
    /// A commit out of turn or beyond the card's bounds.
    #[error("commit out of turn or bounds")]
    Commit,
    /// It started with another state than the one it was given.
    #[error("another state than the stored one")]
    State,
}

/// What a terminal sees of its card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// A card is there.
    Present {
        /// Its answer to reset.
        atr: Arc<[u8]>,
        /// Changes whenever the card was reset underneath its channels: tell `absent`, then `present`.
        reset: u64,
    },
    /// No card is there.
    Absent {
        /// Why, for people.
        reason: &'static str,
    },
}

/// The counters of a card's process.
pub use cardhost_wire::link::Statistics;
