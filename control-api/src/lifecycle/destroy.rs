//! Destruction of a card whose last credential is gone.

use super::{By, LifeCycle, LifeCycleError};
use crate::{
    audit::{Action, Audit, Destruction, Entry, Receipt},
    auth::name::Name,
    store::{
        cards::{self, CardRecord, CardState},
        certificates,
        revocations::{self, Reason},
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
        let (audit, by) = (self.0.audit.clone(), by.clone());
        let receipt = self.0.store.write(move |transaction| erase(transaction, &audit, &card, by)).await?;
        self.0.store.scrub().await?;
        self.0.cards.announce(terminal).await?;
        metrics::counter!("cardhost_cards_destroyed_total").increment(1);
        Ok(Some(receipt))
    }
}

/// One transaction: the card's key, state and rows go, receipt and audit entry come.
fn erase(
    transaction: &rusqlite::Transaction<'_>,
    audit: &Audit,
    card: &CardRecord,
    by: By,
) -> rusqlite::Result<Receipt> {
    for certificate in certificates::of_terminal(transaction, &card.terminal)? {
        let reason = Reason::CessationOfOperation;
        revocations::queue_certificate(transaction, &card.terminal, &certificate.der, reason)?;
        certificates::delete(transaction, certificate.id)?;
    }
    cards::erase(transaction, &card.card)?;
    let receipt = audit.issue_receipt(transaction, &Destruction::now(card))?;
    let entry = Entry::new(Action::CardDestroyed).terminal(&card.terminal).detail("receipt", receipt.id);
    let entry = entry.detail("card", hex::encode(card.card));
    audit.append(transaction, &by.iter().fold(entry, |entry, user| entry.user(user)))?;
    Ok(receipt)
}
