//! Why a card is refused: it does not start until somebody acts.

use cardhost_wire::control::Refusal;

use super::{
    CardError, Cards,
    entry::{Entry, Standing},
};
use crate::{
    anchor::Rollback,
    store::{StoreError, cards::CardRecord},
};

/// Why a card is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its guest does not accept the stored state.
    #[error("its guest does not accept the stored state: {0:?}")]
    State(Refusal),
    /// An old state was put back.
    #[error("an old state was put back: {0}; an administrator may restore the card")]
    RolledBack(Rollback),
    /// The host's guest image is not allowed for it.
    #[error("it is of another guest image, and images are pinned: an administrator may have it adopted")]
    ImageNotAdopted,
    /// It was moved away from the host's guest image.
    #[error("a later guest image wrote its state: it does not start under this one any more")]
    ImageLeftBehind,
}

impl Refused {
    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::State(_) => "guest-refuses-state",
            Self::RolledBack(rollback) => rollback.name(),
            Self::ImageNotAdopted => "image-not-adopted",
            Self::ImageLeftBehind => "image-left-behind",
        }
    }

    /// What the terminal is told.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::State(_) => "the card refuses its stored state",
            Self::RolledBack(_) => "the card is refused: an old state of it was put back at the host",
            Self::ImageNotAdopted => "the card is refused: the host's guest image is not adopted for it",
            Self::ImageLeftBehind => "the card is refused: it was moved away from the host's guest image",
        }
    }

    /// True if the store says it at any time; the guest says it only at a start.
    pub(super) const fn is_found_again(self) -> bool {
        !matches!(self, Self::State(_))
    }
}

impl Cards {
    /// Refuses a card at rest that must not start, and tells its channels.
    pub(super) async fn admit(&self, entry: &Entry, card: &CardRecord) -> Result<(), CardError> {
        match self.refusal(entry, card).await? {
            Some(why) => Err(CardError::Refused(why)),
            None => Ok(()),
        }
    }

    /// Why a card at rest must not start, if so; its channels are told.
    pub(super) async fn refusal(
        &self,
        entry: &Entry,
        card: &CardRecord,
    ) -> Result<Option<Refused>, StoreError> {
        if entry.running().is_some() {
            return Ok(None);
        }
        let refused = self.objection(card).await?;
        if let Some(why) = refused {
            entry.refuse(why);
            entry.presence.send_if_modified(|presence| presence.withdraw(why.reason()));
        }
        Ok(refused)
    }

    /// What anchor and image policy say against a start of the card.
    pub(super) async fn objection(&self, card: &CardRecord) -> Result<Option<Refused>, StoreError> {
        let rollback = self.guard().check(card).await?.map(Refused::RolledBack);
        Ok(rollback.or_else(|| self.image_refusal(card)))
    }
}

impl Entry {
    /// A card at rest is refused; one that runs by now was not.
    fn refuse(&self, why: Refused) {
        let mut standing = self.standing();
        if !matches!(*standing, Standing::Live(_)) {
            *standing = Standing::Refused(why);
        }
    }

    /// What was found in the store is not so any more.
    pub(super) fn no_longer_refused(&self) {
        let mut standing = self.standing();
        if matches!(*standing, Standing::Refused(why) if why.is_found_again()) {
            *standing = Standing::AtRest;
        }
    }
}
