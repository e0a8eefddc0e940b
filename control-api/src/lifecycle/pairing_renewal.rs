//! Renewal of the certificates of cards' pairing keys. No card is woken for it: a request that the card once signed serves
//! each time.
//!
//! ```text
//! last third of its life ─▶ attempt noted ─▶ asked ─▶ stored ─▶ in the card: at once if it is live, else when it wakes
//! ```
//!
//! The certificate before stays valid: it is of the same key.

use cardhost_wire::{
    control::{Answer, Command},
    pairing::PairingCommand,
};
use jiff::{SignedDuration, Timestamp};

use super::{LifeCycle, LifeCycleError, pairing::subject};
use crate::{
    audit::{Action, Entry},
    authority::{AuthorityError, PairingAuthorities, PairingCa},
    card::{CardError, Violation},
    pki,
    store::{
        pairing_keys::{self, Due},
        revocations::{self, Purpose, Reason},
    },
};

/// Most certificates that are renewed before the revocation list is looked after again.
const AT_A_TIME: u32 = 256;
/// Between two attempts for one card.
const BETWEEN_ATTEMPTS: SignedDuration = SignedDuration::from_hours(1);

impl LifeCycle {
    /// Renews what is due; true if there is more of it.
    pub(super) async fn renew_pairing_certificates(
        &self,
        authorities: &PairingAuthorities,
    ) -> Result<bool, LifeCycleError> {
        let now = Timestamp::now();
        let due = self.read(move |connection| pairing_keys::due(connection, now, AT_A_TIME)).await?;
        for key in &due {
            match self.renew_pairing_certificate(key, authorities).await {
                Err(LifeCycleError::Authority(error)) if !error.is_refusal() => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(terminal = %key.terminal, %error, "the card's pairing certificate is not renewed");
                }
                Ok(()) => {}
            }
        }
        Ok(due.len() == AT_A_TIME as usize)
    }

    async fn renew_pairing_certificate(
        &self,
        key: &Due,
        authorities: &PairingAuthorities,
    ) -> Result<(), LifeCycleError> {
        let _only = self.0.locks.lock(&key.terminal).await;
        let (card, next) = (key.card, Timestamp::now() + BETWEEN_ATTEMPTS);
        let attempt =
            move |transaction: &rusqlite::Transaction<'_>| pairing_keys::attempt(transaction, &card, next);
        if !self.0.store.write(attempt).await? {
            return Ok(());
        }
        let request = match &key.request {
            Some(request) => request.clone(),
            None => self.renewal_request(key).await?,
        };
        // One by the authority that cards and terminals had in common is no certificate of a card.
        let is_cards = pki::is_issued_by(&key.certificate, &authorities.cards);
        let certificate = match is_cards {
            true => self.0.authority.renew_pairing(PairingCa::Cards, &request).await?,
            false => self.0.authority.enroll_pairing(PairingCa::Cards, &request).await?,
        };
        let superseded = (!is_cards).then(|| key.certificate.clone());
        self.keep_renewed(key, certificate, superseded, next).await?;
        Ok(self.0.cards.bring_up_to_date(&key.terminal).await?)
    }

    /// A card that was certified before requests were kept is asked for one, once.
    async fn renewal_request(&self, key: &Due) -> Result<Vec<u8>, LifeCycleError> {
        let command = Command::Pairing(PairingCommand::Request(subject(&key.card)));
        let Answer::CertificationRequest(request) =
            self.0.cards.command(&key.terminal, command, None).await?
        else {
            return Err(CardError::Misbehaved(Violation::Unexpected).into());
        };
        let (card, kept) = (key.card, request.clone());
        self.write(move |transaction, _| pairing_keys::keep_request(transaction, &card, &kept)).await?;
        Ok(request)
    }

    async fn keep_renewed(
        &self,
        key: &Due,
        certificate: Vec<u8>,
        superseded: Option<Vec<u8>>,
        next: Timestamp,
    ) -> Result<(), LifeCycleError> {
        let renew_at = pki::last_third(&certificate).ok_or(AuthorityError::Malformed)?.max(next);
        let (card, terminal) = (key.card, key.terminal.clone());
        let entry = Entry::new(Action::CardCertificateRenewed).terminal(&key.terminal);
        let entry = entry.detail("card", hex::encode(card));
        self.write(move |transaction, audit| {
            pairing_keys::renewed(transaction, &card, &certificate, renew_at)?;
            if let Some(superseded) = superseded {
                let (purpose, reason) = (Purpose::CardPairing, Reason::Superseded);
                revocations::queue_certificate(transaction, &terminal, purpose, &superseded, reason)?;
            }
            audit.append(transaction, &entry)
        })
        .await?;
        self.unsettle();
        Ok(())
    }
}
