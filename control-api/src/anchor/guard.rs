//! The guard: compares what the store says of a card with the anchor, and tells what does not fit.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cardhost_wire::control::CardId;
use rusqlite::Transaction;

use super::{Anchor, AnchorError, Anchored, StateDigest};
use crate::{
    audit::{Action, Audit, Entry},
    auth::name::Name,
    store::{
        Store, StoreError,
        cards::{self, CardRecord, CardState},
        pairing_keys,
    },
};

/// How a stored state contradicts the anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rollback {
    /// It is older.
    #[error("its stored state is of epoch {stored}, the anchor knows epoch {anchored}")]
    Older {
        /// The stored state's epoch.
        stored: u64,
        /// The anchored epoch.
        anchored: u64,
    },
    /// It is another one of the same epoch.
    #[error("its stored state of epoch {epoch} is not the one that the anchor knows")]
    Differs {
        /// The epoch.
        epoch: u64,
    },
    /// The card was destroyed.
    #[error("the anchor knows that it was destroyed")]
    Destroyed,
}

impl Rollback {
    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Older { .. } => "state-older-than-anchor",
            Self::Differs { .. } => "state-differs-from-anchor",
            Self::Destroyed => "destroyed-before",
        }
    }
}

/// The guard. Cloning gives another handle of the same.
#[derive(Clone)]
pub struct Guard(Arc<Inner>);

struct Inner {
    anchor: Anchor,
    store: Store,
    audit: Audit,
    /// What was told already.
    detected: Mutex<HashMap<CardId, Rollback>>,
}

impl Guard {
    /// A guard with this anchor over the cards in the store.
    pub(super) fn new(anchor: Anchor, store: Store, audit: Audit) -> Self {
        Self(Arc::new(Inner { anchor, store, audit, detected: Mutex::default() }))
    }

    /// The anchor.
    pub fn anchor(&self) -> &Anchor {
        &self.0.anchor
    }

    /// The audit log.
    pub fn audit(&self) -> &Audit {
        &self.0.audit
    }

    /// A commit of the card is durable in the store.
    pub fn committed(&self, card: CardId, epoch: u64, digest: StateDigest) {
        self.0.anchor.note(card, Anchored::At { epoch, digest });
    }

    /// The card's destruction is durable in the store.
    pub fn destroyed(&self, card: CardId) {
        self.0.anchor.note(card, Anchored::Destroyed);
    }

    /// Compares a card's row with the anchor. What does not fit is logged, counted and audited, once.
    /// A card that waits for the end of its destruction has no state to compare and never starts.
    pub async fn check(&self, card: &CardRecord) -> Result<Option<Rollback>, StoreError> {
        if card.state == CardState::Ending {
            return Ok(None);
        }
        let Some(anchored) = self.0.anchor.anchored(&card.card) else { return Ok(None) };
        if contradiction(anchored, card).is_none() {
            self.detected().remove(&card.card);
            return Ok(None);
        }
        // The row may have been read before the commit that is anchored by now. A row that is read after the anchor
        // was asked is as new as the anchor, or was put back.
        let terminal = card.terminal.clone();
        let again = self.0.store.read(move |connection| cards::find(connection, &terminal)).await?;
        let again = again.filter(|again| again.card == card.card && again.state == CardState::InUse);
        let Some(rollback) = again.and_then(|again| contradiction(anchored, &again)) else { return Ok(None) };
        self.report(card, rollback).await?;
        Ok(Some(rollback))
    }

    async fn report(&self, card: &CardRecord, rollback: Rollback) -> Result<(), StoreError> {
        if self.detected().insert(card.card, rollback) == Some(rollback) {
            return Ok(());
        }
        metrics::counter!("cardhost_rollbacks_detected_total").increment(1);
        tracing::error!(terminal = %card.terminal, %rollback, "an old state was put back: the card is refused");
        let entry = about(Action::CardRolledBack, card).detail("rollback", rollback);
        let written = self.append(entry).await;
        if written.is_err() {
            self.detected().remove(&card.card);
        }
        written
    }

    /// Accepts the card's stored state as its newest from now on; `by` answers for it in the audit log.
    pub async fn restore(&self, card: &CardRecord, by: &Name) -> Result<(), AnchorError> {
        let before = self.0.anchor.anchored(&card.card);
        let now = Anchored::At { epoch: card.epoch, digest: StateDigest::of(card.head.as_deref()) };
        let known = before.and_then(|anchored| contradiction(anchored, card));
        let entry = about(Action::CardRestored, card).user(by).detail("epoch", card.epoch);
        let entry = known.iter().fold(entry, |entry, known| entry.detail("rollback", known));
        let (audit, number) = (self.0.audit.clone(), card.card);
        let accept = move |transaction: &Transaction<'_>| {
            pairing_keys::restored(transaction, &number)?;
            audit.append(transaction, &entry)
        };
        self.0.store.write(accept).await?;
        self.0.anchor.note(card.card, now);
        if let Err(error) = self.0.anchor.flush().await {
            // Not durable, not restored.
            before.into_iter().for_each(|before| self.0.anchor.note(card.card, before));
            return Err(error);
        }
        self.detected().remove(&card.card);
        Ok(())
    }

    async fn append(&self, entry: Entry) -> Result<(), StoreError> {
        let audit = self.0.audit.clone();
        self.0.store.write(move |transaction| audit.append(transaction, &entry)).await
    }

    fn detected(&self) -> MutexGuard<'_, HashMap<CardId, Rollback>> {
        self.0.detected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn about(action: Action, card: &CardRecord) -> Entry {
    Entry::new(action).terminal(&card.terminal).detail("card", hex::encode(card.card))
}

fn contradiction(anchored: Anchored, card: &CardRecord) -> Option<Rollback> {
    match anchored {
        Anchored::Destroyed => Some(Rollback::Destroyed),
        Anchored::At { epoch, .. } if card.epoch < epoch => {
            Some(Rollback::Older { stored: card.epoch, anchored: epoch })
        }
        Anchored::At { epoch, digest } if card.epoch == epoch => {
            let same = StateDigest::of(card.head.as_deref()) == digest;
            (!same).then_some(Rollback::Differs { epoch })
        }
        Anchored::At { .. } => None,
    }
}
