//! Between the daemon and the launcher (`cardhost-vmm`): one message per datagram of a `SOCK_SEQPACKET` socket,
//! which the launcher has as its standard input.
//!
//! The launcher holds the host key and is the only one who can unwrap a card key; the daemon stores wrapped
//! keys. When the socket closes, the launcher ends all its cards and itself.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    codec::message,
    control::CardId,
    custody::{Custody, KeptReply, KeptRequest},
    layers::Layer,
    wrapping::{KeyReply, KeyRequest},
};

/// Version of this protocol.
pub const VERSION: u16 = 7;
/// Longest message.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// From the daemon to the launcher.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// First message, with the guest image's descriptor (a sealed memfd) as SCM_RIGHTS.
    Hello(Hello),
    /// Start a card.
    Start(Start),
    /// End the card's process now.
    Kill {
        /// The start to end.
        instance: u64,
    },
    /// About the keys that wrap card keys.
    Keys(KeyRequest),
    /// About what the TPM keeps for the daemon.
    Kept(KeptRequest),
}
message!(Request);

/// What a launcher is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`].
    pub version: u16,
    /// File of the host's wrapping keys (0600); made if it is not there.
    pub host_key: String,
    /// Where the keys are kept that are in it.
    pub custody: Custody,
    /// SHA-256 of the guest image; the launcher checks it.
    pub measurement: [u8; 32],
    /// Whom the cards' processes become, where the launcher may make them somebody else.
    pub card_users: UserIds,
    /// How cards are to be kept apart.
    pub isolation: Isolation,
    /// The parent of the cards' control groups, from the root of each hierarchy, or below the launcher's own group if
    /// it begins with no `/`. Without it cards have no groups of their own.
    pub control_group: Option<String>,
    /// CPU time a guest may use for one exchange, milliseconds.
    pub cpu_budget_ms: u32,
    /// Processes that wait for their card, made ahead of the starts that take them.
    pub warm_pool: u16,
}

/// What keeps cards apart from their host and from each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Isolation {
    /// A virtual machine for each, by KVM.
    #[default]
    MicroVm,
    /// A process for each that can make no system call, where there is no `/dev/kvm`.
    Process,
}

impl Isolation {
    /// As operators see it in every listing.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MicroVm => "microvm",
            Self::Process => "process",
        }
    }
}

/// User ids, each with a group of the same number, that are nobody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserIds {
    /// The lowest.
    pub first: u32,
    /// How many. With more cards than these some share one.
    pub count: u32,
}

impl UserIds {
    /// A range that systemd's list of user ids has as unused.
    pub const DEFAULT: Self = Self { first: 2_000_000_000, count: 65_536 };

    /// The id of a launcher's nth process; consecutive ones are different.
    pub const fn of_process(self, number: u64) -> u32 {
        let place = if self.count == 0 { 0 } else { number % self.count as u64 };
        self.first.saturating_add(place as u32)
    }
}

/// One start of a card.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Start {
    /// The daemon's number for this start; never reused.
    pub instance: u64,
    /// The card.
    pub card: CardId,
    /// SHA-256 of the terminal's name.
    pub owner: [u8; 32],
    /// The card's wrapped key; `None` makes a new one.
    pub wrapped_key: Option<Vec<u8>>,
    /// SHA-256 of the image that the card was made with: a wrapped key of format 1 does not say it itself.
    pub image: [u8; 32],
    /// The launcher's image may have the key though the card's policy does not allow it yet. The stored key stays as it
    /// is: it is to be settled ([`crate::wrapping::ImageStep::Settle`]) with the first change of the card's state.
    pub adopt: bool,
    /// Development only, see [`crate::control::Launch::default_keys`].
    pub default_keys: bool,
}

/// From the launcher to the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The launcher accepts starts.
    Ready {
        /// How it keeps cards apart: as it was asked to.
        isolation: Isolation,
        /// What else it has entered, and what this host does not give; each layer once.
        layers: Vec<Layer>,
    },
    /// The launcher cannot work at all; it ends.
    Unusable(String),
    /// The card's process runs and has its launch. The daemon's end of its link ([`crate::link`]) comes as SCM_RIGHTS.
    Started {
        /// The start.
        instance: u64,
        /// Its process.
        pid: u32,
        /// The card's wrapped key, under the present wrapping key: to be stored before the card is used, unless the
        /// stored one has become another since the start was asked for.
        wrapped_key: Vec<u8>,
    },
    /// The card's process was not started.
    Refused {
        /// The start.
        instance: u64,
        /// Why.
        reason: Refusal,
    },
    /// The card's process ended.
    Exited {
        /// The start.
        instance: u64,
        /// Exit code, or `None` if a signal ended it.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
    },
    /// The answer to [`Request::Keys`].
    Keys(KeyReply),
    /// The answer to [`Request::Kept`].
    Kept(KeptReply),
}
message!(Reply);

/// Why the launcher did not start a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The wrapped key does not open for this card, owner and image with this host's wrapping keys.
    WrappedKey,
    /// The card's policy does not allow the launcher's image, and the start does not ask to adopt it.
    ImageNotAdopted,
    /// The card was moved away from the launcher's image.
    ImageLeftBehind,
    /// The host has no more processes, memory or descriptors.
    Resources(String),
    /// `/dev/kvm` does not work.
    Kvm(String),
}
