//! Adoption: cards that another guest image wrote last come to run under this host's image.
//!
//! ```text
//!                 follow: at its next start
//! written by A ─────────────────────────────▶ runs under B, written by A ──first commit──▶ written by B, A left behind
//!   │      ▲   └─adopt─▶ B allowed ─start──▶   │
//!   │      └────── a host with image A ────────┘
//!   └─pinned─▶ refused: image-not-adopted            A left behind: refused on a host with image A, whatever its policy
//! ```
//!
//! Where a card stands is written in its wrapped key ([`cardhost_wire::image_policy`]); the launcher holds it to that.

use cardhost_wire::{
    image_policy::{ImagePolicy, ImageStanding, Measurement},
    wrapping::{ImageStep, KeyFault},
};
use clap::ValueEnum;
use rusqlite::Transaction;

use super::{CardError, Cards, Refused};
use crate::{
    audit::{Action, Audit, Entry},
    auth::name::Name,
    launcher::{Launcher, LauncherError},
    store::{
        Store,
        cards::{self, CardRecord, CardState, CommitOutcome},
        wrapped_keys::{self, Replacement},
    },
};

/// What becomes of cards that this host's guest image is not allowed for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Adoption {
    /// Each is adopted at its next start.
    #[default]
    Follow,
    /// Each is refused until an administrator has it adopted.
    Pinned,
}

impl Cards {
    /// Allows this host's image for the terminal's card; false if it was allowed already. `by` answers for it in the
    /// audit log.
    ///
    /// # Errors
    /// [`CardError::ImageSettled`], [`CardError::ImageLeftBehind`], or what keeps the policy from being changed.
    pub async fn adopt(&self, terminal: &Name, by: &Name) -> Result<bool, CardError> {
        let entry = self.hold(terminal);
        let _one_at_a_time = entry.starting.lock().await;
        let card = present(self.store(), terminal).await?;
        let news = match self.image_standing(&card) {
            ImageStanding::Settled => return Err(CardError::ImageSettled),
            ImageStanding::LeftBehind => return Err(CardError::ImageLeftBehind),
            ImageStanding::Allowed => false,
            ImageStanding::NotAdopted => true,
        };
        if news {
            self.allow_image(terminal, by).await?;
        }
        entry.no_longer_refused();
        self.refresh(&entry).await?;
        Ok(news)
    }

    async fn allow_image(&self, terminal: &Name, by: &Name) -> Result<(), CardError> {
        let (to, audit, by) = (self.launcher().measurement(), self.guard().audit().clone(), by.clone());
        let allow = move |transaction: &Transaction<'_>, card: &CardRecord, key: &Replacement| {
            wrapped_keys::replace(transaction, key)?;
            audit.append(transaction, &about(Action::CardImageAllowed, card, to).user(&by))
        };
        step(self.store(), self.launcher(), terminal, ImageStep::Allow, allow).await
    }

    /// Where this host's image stands with the card, by what its wrapped key alleges. Of one that says nothing the
    /// launcher says what is wrong.
    pub(super) fn image_standing(&self, card: &CardRecord) -> ImageStanding {
        let policy = ImagePolicy::alleged(&card.wrapped_key, card.measurement);
        policy.map_or(ImageStanding::Settled, |policy| policy.standing(&self.launcher().measurement()))
    }

    /// Why the card does not start under this host's image, if so. One that is ending starts under none.
    pub(super) fn image_refusal(&self, card: &CardRecord) -> Option<Refused> {
        match self.image_standing(card) {
            _ if card.state == CardState::Ending => None,
            ImageStanding::LeftBehind => Some(Refused::ImageLeftBehind),
            ImageStanding::NotAdopted if !self.follows() => Some(Refused::ImageNotAdopted),
            _ => None,
        }
    }

    /// What becomes of cards that this host's image is not allowed for.
    pub fn adoption(&self) -> Adoption {
        self.settings().adoption
    }

    /// True if cards are adopted at their next start.
    pub(super) fn follows(&self) -> bool {
        self.adoption() == Adoption::Follow
    }

    /// What is to be done with the first commit of a card that is started now; nothing if this host's image wrote it
    /// last.
    pub(super) fn adopting(&self, card: &CardRecord) -> Option<Adopting> {
        (self.image_standing(card) != ImageStanding::Settled).then(|| Adopting {
            terminal: card.terminal.clone(),
            store: self.store().clone(),
            launcher: self.launcher().clone(),
            audit: self.guard().audit().clone(),
        })
    }

    /// How many cards another image wrote last.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn count_of_other_images(&self) -> Result<u32, CardError> {
        let image = self.launcher().measurement();
        Ok(self.store().read(move |connection| cards::count_of_other_images(connection, &image)).await?)
    }
}

/// A card that runs under another image than the one that wrote its state.
pub(super) struct Adopting {
    terminal: Name,
    store: Store,
    launcher: Launcher,
    audit: Audit,
}

impl Adopting {
    /// Stores the card's first commit under this image together with its key, which no other image may have any more:
    /// both or neither. `commit` stores the rest.
    pub(super) async fn settle(
        &self,
        commit: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<CommitOutcome> + Clone + Send + 'static,
    ) -> Result<CommitOutcome, CardError> {
        let (to, audit) = (self.launcher.measurement(), self.audit.clone());
        let settle = move |transaction: &Transaction<'_>, card: &CardRecord, key: &Replacement| {
            let outcome = commit(transaction)?;
            if matches!(outcome, CommitOutcome::Stored { .. }) {
                wrapped_keys::settle(transaction, key, &to)?;
                let entry = about(Action::CardAdopted, card, to).detail("adopted-by", adopted_by(card, &to));
                audit.append(transaction, &entry)?;
            }
            Ok(outcome)
        };
        let outcome = step(&self.store, &self.launcher, &self.terminal, ImageStep::Settle, settle).await?;
        if matches!(outcome, CommitOutcome::Stored { .. }) {
            metrics::counter!("cardhost_cards_adopted_total").increment(1);
            tracing::info!("the card is adopted: the guest image that wrote it before is left behind");
        }
        Ok(outcome)
    }
}

/// Has the launcher take a step of the card's image policy, and stores with `write` what comes of it. A rotation may put
/// another key there meanwhile: then the step is taken again, with that one.
async fn step<T: Send + 'static>(
    store: &Store,
    launcher: &Launcher,
    terminal: &Name,
    step: ImageStep,
    write: impl FnOnce(&Transaction<'_>, &CardRecord, &Replacement) -> rusqlite::Result<T>
    + Clone
    + Send
    + 'static,
) -> Result<T, CardError> {
    loop {
        let card = present(store, terminal).await?;
        if let Some(stored) = attempt(store, launcher, card, step, write.clone()).await? {
            return Ok(stored);
        }
    }
}

/// The same once, with the card as it was read; `None` if another key stands in the store by now.
async fn attempt<T: Send + 'static>(
    store: &Store,
    launcher: &Launcher,
    card: CardRecord,
    step: ImageStep,
    write: impl FnOnce(&Transaction<'_>, &CardRecord, &Replacement) -> rusqlite::Result<T> + Send + 'static,
) -> Result<Option<T>, CardError> {
    let key = |later| Replacement { card: card.card, earlier: card.wrapped_key.clone(), later };
    match launcher.step(card.wrapped(), step).await {
        Ok(later) => {
            let key = key(later);
            let write = move |transaction: &Transaction<'_>| {
                wrapped_keys::stands(transaction, &key)?.then(|| write(transaction, &card, &key)).transpose()
            };
            Ok(store.write(write).await?)
        }
        // What it was wrapped under may have been retired since it was read.
        Err(error @ LauncherError::Keys(KeyFault::NotOurs)) => {
            let key = key(Vec::new());
            let stands = store.read(move |connection| wrapped_keys::stands(connection, &key)).await?;
            if stands { Err(error.into()) } else { Ok(None) }
        }
        Err(error) => Err(error.into()),
    }
}

/// The terminal's card, which must be in use.
async fn present(store: &Store, terminal: &Name) -> Result<CardRecord, CardError> {
    let terminal = terminal.clone();
    let found = store.read(move |connection| cards::find(connection, &terminal)).await?;
    found.filter(|card| card.state == CardState::InUse).ok_or(CardError::Absent)
}

fn about(action: Action, card: &CardRecord, to: Measurement) -> Entry {
    let entry = Entry::new(action).terminal(&card.terminal).detail("card", hex::encode(card.card));
    entry.detail("from", hex::encode(card.measurement)).detail("to", hex::encode(to))
}

/// Who had the card adopted.
fn adopted_by(card: &CardRecord, image: &Measurement) -> &'static str {
    let policy = ImagePolicy::alleged(&card.wrapped_key, card.measurement);
    match policy.map(|policy| policy.standing(image)) {
        Some(ImageStanding::Allowed) => "operator",
        _ => "host-policy",
    }
}

#[cfg(test)]
mod tests;
