//! Whether a card may still pair: what the authority says of its certificate, kept as long as that lasts, and an operator's
//! word that it may not.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;

use super::{LifeCycle, LifeCycleError};
use crate::{
    audit::{Action, Entry},
    auth::name::Name,
    authority::CardStatus,
    card::CardError,
    store::{
        pairing_keys::{self, PairingKey},
        revocations::{self, Purpose, Reason},
    },
};

/// Most answers that are kept.
const MOST: usize = 4096;

/// What the authority said of cards' certificates.
#[derive(Default)]
pub(super) struct Statuses(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    by_serial: HashMap<Vec<u8>, CardStatus>,
    era: Era,
}

/// The time between two revocations: an answer that was asked for in an earlier one may say what is true no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Era(u64);

impl Statuses {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer that is kept, or when to ask for one.
    fn find(&self, serial: &[u8], now: Timestamp) -> Result<CardStatus, Era> {
        let kept = self.kept();
        let status = kept.by_serial.get(serial).filter(|status| status.next_update > now);
        status.cloned().ok_or(kept.era)
    }

    fn keep(&self, serial: Vec<u8>, status: CardStatus, asked: Era, now: Timestamp) {
        let Kept { by_serial, era } = &mut *self.kept();
        if *era != asked {
            return;
        }
        if by_serial.len() >= MOST {
            by_serial.retain(|_, status| status.next_update > now);
        }
        if by_serial.len() < MOST {
            by_serial.insert(serial, status);
        }
    }

    /// The authority says something else now.
    pub(super) fn forget(&self) {
        let mut kept = self.kept();
        kept.by_serial.clear();
        kept.era.0 += 1;
    }
}

impl LifeCycle {
    /// What the authority says of the card's certificate with this serial number: a signed OCSP response, DER.
    ///
    /// # Errors
    /// [`LifeCycleError::Authority`]
    pub async fn card_status(&self, serial: Vec<u8>) -> Result<Vec<u8>, LifeCycleError> {
        let era = match self.0.statuses.find(&serial, Timestamp::now()) {
            Ok(status) => return Ok(status.response),
            Err(era) => era,
        };
        let status = self.0.authority.card_status(&serial).await?;
        self.0.statuses.keep(serial, status.clone(), era, Timestamp::now());
        Ok(status.response)
    }

    /// Has the authority revoke the certificate with which the terminal's card pairs: terminals refuse the card from then on.
    /// False if it has none.
    ///
    /// # Errors
    /// [`CardError::Absent`]: the terminal has no card.
    pub async fn revoke_card(&self, terminal: &Name, by: &Name) -> Result<bool, LifeCycleError> {
        let (this, terminal, by) = (self.clone(), terminal.clone(), by.clone());
        Self::detached(async move { this.revoke_card_now(terminal, by).await }).await
    }

    async fn revoke_card_now(&self, terminal: Name, by: Name) -> Result<bool, LifeCycleError> {
        let _only = self.0.locks.lock(&terminal).await;
        let card = self.card_of(&terminal).await?.ok_or(CardError::Absent)?.card;
        let audit = self.0.audit.clone();
        let revoked = self.0.store.write(move |transaction| {
            let Some(PairingKey::Certified(certificate)) = pairing_keys::find(transaction, &card)? else {
                return Ok(false);
            };
            let certificate = pairing_keys::waiting(transaction, &card)?.unwrap_or(certificate);
            let (purpose, reason) = (Purpose::CardPairing, Reason::PrivilegeWithdrawn);
            revocations::queue_certificate(transaction, &terminal, purpose, &certificate, reason)?;
            pairing_keys::end_renewal(transaction, &card)?;
            let entry = Entry::new(Action::CardRevoked).terminal(&terminal).user(&by);
            audit.append(transaction, &entry.detail("card", hex::encode(card)))?;
            Ok(true)
        });
        let revoked = revoked.await?;
        self.unsettle();
        Ok(revoked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(until: i64) -> CardStatus {
        CardStatus { response: vec![7], next_update: Timestamp::from_second(until).unwrap() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_answer_is_kept_until_there_is_a_newer_one() {
        let statuses = Statuses::default();
        let era = Era::default();
        statuses.keep(vec![1], status(10), era, at(0));
        assert_eq!(statuses.find(&[1], at(9)), Ok(status(10)));
        assert_eq!((statuses.find(&[1], at(10)), statuses.find(&[2], at(0))), (Err(era), Err(era)));
        statuses.forget();
        assert!(statuses.find(&[1], at(9)).is_err());
    }

    #[test]
    fn an_answer_that_was_asked_for_before_a_revocation_is_not_kept() {
        let statuses = Statuses::default();
        let before = statuses.find(&[1], at(0)).unwrap_err();
        statuses.forget();
        statuses.keep(vec![1], status(10), before, at(0));
        let after = statuses.find(&[1], at(0)).unwrap_err();
        statuses.keep(vec![1], status(10), after, at(0));
        assert_eq!(statuses.find(&[1], at(0)), Ok(status(10)));
    }

    #[test]
    fn only_so_many_are_kept_and_those_that_ended_make_room() {
        let statuses = Statuses::default();
        for number in 0..=MOST as u32 {
            statuses.keep(number.to_be_bytes().into(), status(10), Era::default(), at(0));
        }
        assert_eq!(statuses.kept().by_serial.len(), MOST);
        assert!(statuses.find(&(MOST as u32).to_be_bytes(), at(0)).is_err());
        statuses.keep(vec![1], status(20), Era::default(), at(10));
        assert_eq!(statuses.kept().by_serial.len(), 1);
        assert_eq!(statuses.find(&[1], at(10)), Ok(status(20)));
    }
}
