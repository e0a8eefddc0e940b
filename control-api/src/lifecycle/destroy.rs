//! Destruction of a card whose last credential is gone.
//!
//! ```text
//! process ended ─▶ key, state, list of credentials erased ─▶ log emptied ─▶ wrapping key retired ─▶ row gone, receipt
//! ```
//!
//! The card's row stays until the end, so that a destruction that was interrupted is taken up from the beginning, and
//! the receipt states only what has happened.

use cardhost_wire::wrapping::Bucket;
use rusqlite::Transaction;

use super::{By, LifeCycle, LifeCycleError};
use crate::{
    audit::{Action, Audit, Destruction, Entry, Receipt},
    auth::name::Name,
    store::{
        cards::{self, CardRecord, CardState},
        certificates, pairing_keys,
        revocations::{self, Purpose, Reason},
    },
};

impl LifeCycle {
    pub(super) async fn card_of(&self, terminal: &Name) -> Result<Option<CardRecord>, LifeCycleError> {
        let terminal = terminal.clone();
        self.read(move |connection| cards::find(connection, &terminal)).await
    }

    /// Marks a card that holds no credential for destruction.
    pub(super) async fn end_if_empty(&self, card: &CardRecord) -> Result<(), LifeCycleError> {
        let card = card.card;
        self.write(move |transaction, _| {
            if cards::count_credentials(transaction, &card)? == 0 {
                cards::end(transaction, &card)?;
            }
            Ok(())
        })
        .await
    }

    /// Destroys the terminal's card if it waits for that. The terminal's lock is held.
    pub(super) async fn destroy_if_ending(
        &self,
        terminal: &Name,
        by: &By,
    ) -> Result<Option<Receipt>, LifeCycleError> {
        let card = self.card_of(terminal).await?;
        let Some(card) = card.filter(|card| card.state == CardState::Ending) else { return Ok(None) };
        self.0.cards.stop(terminal).await;
        let erased = card.clone();
        self.write(move |transaction, _| erase(transaction, &erased)).await?;
        let log_emptied = self.0.store.scrub().await?;
        let present = self.0.keys.rotate(Bucket::of(&card.card)).await?;
        let destruction = Destruction::now(&card, present, log_emptied);
        let (audit, by) = (self.0.audit.clone(), by.clone());
        let state = move |transaction: &Transaction<'_>| conclude(transaction, &audit, &destruction, by);
        let receipt = self.0.store.write(state).await?;
        self.0.cards.guard().destroyed(card.card);
        self.0.cards.announce(terminal).await?;
        metrics::counter!("cardhost_cards_destroyed_total").increment(1);
        self.unsettle();
        Ok(Some(receipt))
    }
}

/// The card's key, state and list of credentials go; its row tells that this is not all yet.
fn erase(transaction: &Transaction<'_>, card: &CardRecord) -> rusqlite::Result<()> {
    for certificate in certificates::of_terminal(transaction, &card.terminal)? {
        let (purpose, reason) = (Purpose::Credential, Reason::CessationOfOperation);
        revocations::queue_certificate(transaction, &card.terminal, purpose, &certificate.der, reason)?;
        certificates::delete(transaction, certificate.id)?;
    }
    pairing_keys::revoke(transaction, card)?;
    cards::erase(transaction, &card.card)
}

/// All is destroyed: the row goes, receipt and audit entry come.
fn conclude(
    transaction: &Transaction<'_>,
    audit: &Audit,
    destruction: &Destruction,
    by: By,
) -> rusqlite::Result<Receipt> {
    cards::forget(transaction, &destruction.card)?;
    let receipt = audit.issue_receipt(transaction, destruction)?;
    let entry =
        Entry::new(Action::CardDestroyed).terminal(&destruction.terminal).detail("receipt", receipt.id);
    let entry = entry.detail("card", hex::encode(destruction.card));
    audit.append(transaction, &by.iter().fold(entry, |entry, user| entry.user(user)))?;
    Ok(receipt)
}
