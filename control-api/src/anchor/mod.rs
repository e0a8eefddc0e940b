//! Rollback detection: what the newest state of each card is, kept outside of the store.
//!
//! ```text
//!            durable commit                 at most a second later
//! card task ────────────────▶ Ledger ────────────────────────────────▶ anchor file ──▶ exported, signed head
//!                (memory)       ▲                  writer thread          │
//! start, listing ──▶ Guard ─────┘ epoch and digest of the stored head?    └─ batches, each chained to all before
//! ```
//!
//! An old copy of the store, or of one card's rows, is valid in itself: every seal in it opens. So the host notes after
//! each durable commit the card's epoch and a digest of its sealed head in memory, and a thread of its own writes what
//! changed in batches to a file at a path of the operator's choice. The thread never delays a card and the anchor is
//! never ahead of the store: after a `kill -9` or a power cut the store may be ahead, which is accepted, so there is no
//! false alarm. A stored state that is *older* than the anchor, or differs from it at the same epoch, was put back: its
//! card is refused until an operator restores it explicitly. The epoch that the store tells is believed only to refuse
//! a card: the guest checks it against the sealed head when it starts.
//!
//! The store remembers the anchor's id and, lazily, its sequence number. So a missing, foreign or older anchor file is
//! noticed at the daemon's start ([`open()`]). Who can put back older copies of store *and* anchor is found out by a
//! head that was exported before ([`SignedHead`]), or by the host's TPM, which keeps one ([`tpm`]).

mod file;
mod format;
mod guard;
mod head;
mod ledger;
mod open;
#[cfg(test)]
mod tests;
pub mod tpm;
mod writer;

use std::{fmt, io, path::PathBuf, sync::Arc};

use sha2::{Digest as _, Sha256};

pub use file::{FileError, History};
pub use guard::{Guard, Rollback};
pub use head::{HeadFault, SignedHead};
pub use open::{Settings, open};
pub use writer::Anchor;

use crate::{launcher::LauncherError, store::StoreError};

/// Why there is no anchor to rely on.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// The file is missing though the store knows that it had one.
    #[error(
        "the anchor {0} is missing: put it back. If it is lost, check the store and then state by `cardhost serve \
         --accept-new-anchor` that the store's present state is the right one"
    )]
    Missing(PathBuf),
    /// The file is the anchor of another store, or of a later state of this one.
    #[error(
        "the anchor {0} is not this store's: give the right one by --anchor. If it is lost, check the store and then \
         state by `cardhost serve --accept-new-anchor` that the store's present state is the right one"
    )]
    Foreign(PathBuf),
    /// The file is older than the store remembers.
    #[error(
        "the anchor {path} is an older copy: it ends at batch {found}, the store remembers {remembered}. Put the right \
         one back, or check the store and then state by `cardhost serve --accept-new-anchor` that its present state is \
         the right one"
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// The last batch in it.
        found: u64,
        /// The batch that the store remembers.
        remembered: u64,
    },
    /// The anchor's history is not the one that the TPM knows.
    #[error(
        "an old copy of the data directory was put back: the TPM knows batch {kept} of this host's anchor, and {path}, \
         which ends at batch {found}, does not pass through it. Put the right copies back, or check the store and then \
         state by `cardhost serve --accept-new-anchor` that its present state is the right one"
    )]
    ContradictsTpm {
        /// The file.
        path: PathBuf,
        /// The last batch in it.
        found: u64,
        /// The batch that the TPM keeps.
        kept: u64,
    },
    /// What the TPM keeps is of a later version, or not the daemon's.
    #[error(
        "what the TPM keeps of the anchor is not known to this cardhost. Check the store and then state by `cardhost \
         serve --accept-new-anchor` that its present state is the right one"
    )]
    UnknownTpmHead,
    /// The launcher, which has the TPM.
    #[error(transparent)]
    Launcher(#[from] LauncherError),
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system gives no randomness.
    #[error("no randomness for an anchor's id")]
    Randomness(#[source] io::Error),
    /// The writer's thread could not be started.
    #[error("the anchor's thread does not start")]
    Thread(#[source] io::Error),
    /// A batch could not be made durable; it is tried again.
    #[error("the anchor cannot be written")]
    NotDurable(#[source] Arc<io::Error>),
    /// The anchor is closed.
    #[error("the anchor is closed")]
    Closed,
}

/// An anchor's identity, random.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AnchorId(pub [u8; 16]);

impl AnchorId {
    fn random() -> Result<Self, AnchorError> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| AnchorError::Randomness(error.into()))?;
        Ok(Self(id))
    }
}

impl fmt::Debug for AnchorId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

/// SHA-256 over an anchor's batches up to one of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChainHash(pub [u8; 32]);

impl fmt::Debug for ChainHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

/// A point of an anchor's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The number of batches up to here.
    pub sequence: u64,
    /// The chain hash after them.
    pub hash: ChainHash,
}

/// The first 16 bytes of SHA-256 over a card's sealed head, zeros for a card without one. The head names every record
/// of the state by its tag, so this stands for the whole state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateDigest(pub [u8; 16]);

impl StateDigest {
    /// The digest of this sealed head.
    pub fn of(head: Option<&[u8]>) -> Self {
        head.map_or_else(Self::default, |head| {
            let hash: [u8; 32] = Sha256::digest(head).into();
            Self(*hash.first_chunk().expect("16 are fewer than 32"))
        })
    }
}

/// What is anchored of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchored {
    /// Its last known state.
    At {
        /// Its last commit.
        epoch: u64,
        /// The digest of that commit's head.
        digest: StateDigest,
    },
    /// It was destroyed and must not come back.
    Destroyed,
}
