//! What a card is owed for its pairing with terminals: the newest revocation list, and its renewed certificate. Live cards
//! are brought it at once, others when they start, before anybody uses them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cardhost_wire::{
    control::{Answer, CardId, Command, Failure},
    pairing::PairingCommand,
};
use futures_util::{StreamExt as _, stream};
use rusqlite::{Connection, Transaction};

use super::{CardError, Cards, Violation, live::Use, task::Mail};
use crate::{
    auth::name::Name,
    authority::PairingAuthorities,
    pki::{MAX_ENTRIES, RevocationList},
    store::{
        cards::{self, CardRecord},
        pairing_keys, revocation_list,
    },
};

/// Cards that are brought up to date together.
const TOGETHER: usize = 32;

/// What the authorities last said.
#[derive(Default)]
pub(super) struct News(Mutex<Newest>);

#[derive(Clone, Default)]
struct Newest {
    /// The newest list, if it is one that cards take.
    list: Option<Arc<RevocationList>>,
    /// A card verifies its certificate by these.
    authorities: Option<Arc<PairingAuthorities>>,
}

impl News {
    fn newest(&self) -> MutexGuard<'_, Newest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_list(&self, list: RevocationList) {
        let mut newest = self.newest();
        if list.entries() <= MAX_ENTRIES && newest.list.as_ref().is_none_or(|known| list.replaces(known)) {
            newest.list = Some(Arc::new(list));
        }
    }
}

/// What a card has accepted, and what waits for it.
pub(super) struct Account {
    card: CardId,
    /// The number of its newest list; `None` until it is certified.
    accepted: Option<u64>,
    /// A renewed certificate, DER.
    renewed: Option<Vec<u8>>,
}

/// What a card is to be brought.
struct Owed {
    list: Option<Arc<RevocationList>>,
    certificate: Option<(Vec<u8>, Arc<PairingAuthorities>)>,
}

impl Account {
    /// Of the card in this row.
    pub(super) fn read(connection: &Connection, row: &CardRecord) -> rusqlite::Result<Self> {
        let renewed = pairing_keys::waiting(connection, &row.card)?;
        Ok(Self { card: row.card, accepted: row.revocations, renewed })
    }

    fn owed(&self, news: &News) -> Owed {
        let Newest { list, authorities } = news.newest().clone();
        let is_newer = |list: &Arc<RevocationList>| self.accepted.is_some_and(|number| list.number > number);
        Owed { list: list.filter(is_newer), certificate: self.renewed.clone().zip(authorities) }
    }
}

impl Owed {
    const fn is_something(&self) -> bool {
        self.list.is_some() || self.certificate.is_some()
    }
}

impl Cards {
    /// From now on cards that start get this list, unless there was a newer one.
    pub fn follow(&self, list: RevocationList) {
        self.news().put_list(list);
    }

    /// These authorities certify cards and terminals.
    pub fn know(&self, authorities: PairingAuthorities) {
        self.news().newest().authorities = Some(Arc::new(authorities));
    }

    /// Brings every live card what it is owed.
    pub async fn bring_all_up_to_date(&self) {
        let bring = async |terminal: Name| {
            if let Err(error) = self.bring_up_to_date(&terminal).await {
                tracing::warn!(%terminal, %error, "the card is not brought up to date");
            }
        };
        stream::iter(self.live()).for_each_concurrent(TOGETHER, bring).await;
    }

    /// Brings the terminal's card what it is owed, if it is live; one that is not gets it when it starts.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn bring_up_to_date(&self, terminal: &Name) -> Result<(), CardError> {
        let Some(entry) = self.known(terminal) else { return Ok(()) };
        let name = terminal.clone();
        let read = move |connection: &Connection| {
            let row = cards::find(connection, &name)?;
            row.map(|row| Account::read(connection, &row)).transpose()
        };
        let account = self.store().read(read).await?;
        // A use keeps a card from parking: none begins without need.
        let needy = account.filter(|account| account.owed(self.news()).is_something());
        if let Some(account) = needy
            && let Some(card) = entry.enter().await
        {
            self.deliver(&card, &account).await;
        }
        Ok(())
    }

    /// Gives a card what it is owed. What it does not take it goes on without: it is offered again.
    pub(super) async fn deliver(&self, card: &Use, account: &Account) {
        let (number, owed) = (account.card, account.owed(self.news()));
        if let Some(list) = owed.list
            && let Err(error) = self.deliver_list(card, number, &list).await
        {
            metrics::counter!("cardhost_pairing_lists_declined_total").increment(1);
            tracing::warn!(card = hex::encode(number), %error, "the card did not take the revocation list");
        }
        if let Some((certificate, authorities)) = owed.certificate
            && let Err(error) = self.deliver_certificate(card, number, certificate, &authorities).await
        {
            metrics::counter!("cardhost_pairing_certificates_declined_total").increment(1);
            tracing::warn!(card = hex::encode(number), %error, "the card did not take its renewed certificate");
        }
    }

    async fn deliver_list(&self, card: &Use, number: CardId, list: &RevocationList) -> Result<(), CardError> {
        let accepted = offer(card, list).await?;
        let note =
            move |transaction: &Transaction<'_>| revocation_list::accepted(transaction, &number, accepted);
        Ok(self.store().write(note).await?)
    }

    async fn deliver_certificate(
        &self,
        card: &Use,
        number: CardId,
        certificate: Vec<u8>,
        authorities: &PairingAuthorities,
    ) -> Result<(), CardError> {
        let command = PairingCommand::Certify {
            certificate: certificate.clone(),
            card_authority: authorities.cards.clone(),
            terminal_authority: authorities.terminals.clone(),
        };
        let Answer::Done = ask(card, command).await? else {
            return Err(CardError::Misbehaved(Violation::Unexpected));
        };
        let note =
            move |transaction: &Transaction<'_>| pairing_keys::delivered(transaction, &number, &certificate);
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
