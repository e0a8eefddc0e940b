//! Why a card is refused: it does not start until somebody acts.

use cardhost_wire::control::Refusal;

use crate::anchor::Rollback;

/// Why a card is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its guest does not accept the stored state.
    #[error("its guest does not accept the stored state: {0:?}")]
    State(Refusal),
    /// An old state was put back.
    #[error("an old state was put back: {0}; an administrator may restore the card")]
    RolledBack(Rollback),
}

impl Refused {
    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::State(_) => "guest-refuses-state",
            Self::RolledBack(rollback) => rollback.name(),
        }
    }

    /// What the terminal is told.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::State(_) => "the card refuses its stored state",
            Self::RolledBack(_) => "the card is refused: an old state of it was put back at the host",
        }
    }
}
