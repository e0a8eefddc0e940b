//! Revocation lists for the pairing of cards with terminals: each certified card is brought to the newest one, live ones
//! at once, others when they start, before anybody uses them.

use std::sync::{Arc, Mutex, PoisonError};

use cardhost_wire::{
    control::{Answer, CardId, Command, Failure},
    pairing::PairingCommand,
};
use futures_util::{StreamExt as _, stream};
use rusqlite::Transaction;

use super::{CardError, Cards, Violation, live::Use, task::Mail};
use crate::{
    auth::name::Name,
    pki::{MAX_ENTRIES, RevocationList},
    store::{cards, revocation_list},
};

/// Cards that are brought up to date together.
const TOGETHER: usize = 32;

/// The newest list, if it is one that cards take.
#[derive(Default)]
pub(super) struct Newest(Mutex<Option<Arc<RevocationList>>>);

impl Newest {
    fn put(&self, list: RevocationList) {
        if list.entries() > MAX_ENTRIES {
            return;
        }
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.as_ref().is_none_or(|known| list.replaces(known)) {
            *newest = Some(Arc::new(list));
        }
    }

    /// The list, if it is newer than this number.
    fn after(&self, accepted: u64) -> Option<Arc<RevocationList>> {
        let newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        newest.clone().filter(|list| list.number > accepted)
    }
}

impl Cards {
    /// From now on cards that start get this list, unless there was a newer one.
    pub fn follow(&self, list: RevocationList) {
        self.newest_list().put(list);
    }

    /// Brings every live card to the newest list.
    pub async fn bring_all_up_to_date(&self) {
        let bring = async |terminal: Name| {
            if let Err(error) = self.bring_up_to_date(&terminal).await {
                tracing::warn!(%terminal, %error, "the card is not brought to the newest revocation list");
            }
        };
        stream::iter(self.live()).for_each_concurrent(TOGETHER, bring).await;
    }

    /// Brings the terminal's card to the newest list, if it is live; one that is not is when it starts.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn bring_up_to_date(&self, terminal: &Name) -> Result<(), CardError> {
        let Some(entry) = self.known(terminal) else { return Ok(()) };
        let name = terminal.clone();
        let found = self.store().read(move |connection| cards::find(connection, &name)).await?;
        // A use keeps a card from parking: none begins without need.
        let needy = found.filter(|row| self.needed(row.revocations).is_some());
        if let Some(row) = needy
            && let Some(card) = entry.enter().await
        {
            self.deliver(&card, row.card, row.revocations).await;
        }
        Ok(())
    }

    /// The newest list, if a card that is certified accepted only an older one.
    fn needed(&self, accepted: Option<u64>) -> Option<Arc<RevocationList>> {
        accepted.and_then(|accepted| self.newest_list().after(accepted))
    }

    /// Gives a card the newest list, if it is certified and accepted only an older one. What it does not take it goes on
    /// without: it is offered again.
    pub(super) async fn deliver(&self, card: &Use, number: CardId, accepted: Option<u64>) {
        let Some(list) = self.needed(accepted) else { return };
        let noted = match offer(card, &list).await {
            Ok(accepted) => self.note_accepted(number, accepted).await,
            Err(error) => Err(error),
        };
        if let Err(error) = noted {
            metrics::counter!("cardhost_pairing_lists_declined_total").increment(1);
            tracing::warn!(card = hex::encode(number), %error, "the card did not take the revocation list");
        }
    }

    async fn note_accepted(&self, card: CardId, number: u64) -> Result<(), CardError> {
        let note = move |transaction: &Transaction<'_>| revocation_list::accepted(transaction, &card, number);
        Ok(self.store().write(note).await?)
    }
}

/// The number of the list that the card has then: this one, or one that was newer already.
async fn offer(card: &Use, list: &RevocationList) -> Result<u64, CardError> {
    match ask(card, PairingCommand::Revoke(list.der.to_vec())).await {
        Ok(Answer::Done) => Ok(list.number),
        Err(CardError::Declined(Failure::Outdated)) => match ask(card, PairingCommand::Read).await? {
            Answer::Pairings(pairings) => Ok(pairings.revocations.unwrap_or_default()),
            _ => Err(CardError::Misbehaved(Violation::Unexpected)),
        },
        Ok(_) => Err(CardError::Misbehaved(Violation::Unexpected)),
        Err(error) => Err(error),
    }
}

async fn ask(card: &Use, command: PairingCommand) -> Result<Answer, CardError> {
    card.ask(|reply| Mail::Command { command: Command::Pairing(command), intent: None, reply }).await
}
