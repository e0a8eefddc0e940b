//! Certification of the keys with which cards and terminals pair.
//!
//! What may have been issued is always written down first: a card's request with the card, whose destruction queues it for
//! revocation; a terminal's in the queue of revocations itself, out of which it comes together with the accepted device.

use cardhost_wire::{
    control::{Answer, CardId, Command},
    pairing::PairingCommand,
};
use der::Encode as _;
use rusqlite::Transaction;
use x509_cert::name::Name as DistinguishedName;

use super::{LifeCycle, LifeCycleError};
use crate::{
    audit::{Action, Entry},
    auth::name::Name,
    authority::{AuthorityError, PairingAuthorities, PairingCa},
    card::{CardError, Violation},
    pki,
    store::{
        cards::CardRecord,
        devices::{self, DeviceRecord},
        pairing_keys::{self, PairingKey},
        revocations::{self, Purpose},
    },
};

/// What a terminal needs to pair, both DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairingCertificate {
    /// The certificate of its key.
    pub certificate: Vec<u8>,
    /// The cards' authority's own.
    pub card_authority: Vec<u8>,
}

/// The revocation of what the authority will issue.
struct Queued {
    id: i64,
    /// The same request stood in the queue from before: the authority may have issued on it then.
    again: bool,
}

impl LifeCycle {
    /// Has the pairing key of the terminal's card certified, unless it is, or nothing pairs with this authority. The
    /// terminal's lock is held.
    pub(super) async fn certify_card(&self, terminal: &Name) -> Result<(), LifeCycleError> {
        if !self.0.authority.offers_pairing() {
            return Ok(());
        }
        let card = self.card_of(terminal).await?.ok_or(CardError::Absent)?;
        let number = card.card;
        let key = self.read(move |connection| pairing_keys::find(connection, &number)).await?;
        if matches!(key, Some(PairingKey::Certified(_))) {
            return Ok(());
        }
        let authorities = self.0.authority.pairing_authorities().await?;
        let certificate = match key {
            Some(PairingKey::Issued(certificate) | PairingKey::Certified(certificate)) => certificate,
            Some(PairingKey::Requested(request)) => self.certificate_of_card(&card, &request).await?,
            None => self.first_certificate_of_card(&card).await?,
        };
        self.certify(&card, certificate, authorities).await
    }

    /// The card's certification request, written down.
    async fn request_of_card(&self, card: &CardRecord) -> Result<Vec<u8>, LifeCycleError> {
        let command = PairingCommand::Request(subject(&card.card));
        let Answer::CertificationRequest(request) = self.ask_about_pairing(&card.terminal, command).await?
        else {
            return Err(CardError::Misbehaved(Violation::Unexpected).into());
        };
        let (number, noted) = (card.card, request.clone());
        self.write(move |transaction, _| pairing_keys::request(transaction, &number, &noted)).await?;
        Ok(request)
    }

    async fn first_certificate_of_card(&self, card: &CardRecord) -> Result<Vec<u8>, LifeCycleError> {
        let request = self.request_of_card(card).await?;
        let certificate = self.certificate_of_card(card, &request).await;
        // One that was asked before stays: an earlier answer may have been lost.
        if let Err(LifeCycleError::Authority(error)) = &certificate
            && !error.may_have_had_effect()
        {
            let number = card.card;
            self.write(move |transaction, _| pairing_keys::withdraw(transaction, &number)).await?;
        }
        certificate
    }

    async fn certificate_of_card(
        &self,
        card: &CardRecord,
        request: &[u8],
    ) -> Result<Vec<u8>, LifeCycleError> {
        let certificate = self.0.authority.enroll_pairing(PairingCa::Cards, request).await?;
        let (number, issued) = (card.card, certificate.clone());
        let stored = move |transaction: &Transaction<'_>| pairing_keys::issued(transaction, &number, &issued);
        match self.0.store.write(stored).await? {
            true => Ok(certificate),
            // Its last credential was deleted by APDU meanwhile: what was issued is queued.
            false => Err(CardError::Absent.into()),
        }
    }

    async fn certify(
        &self,
        card: &CardRecord,
        certificate: Vec<u8>,
        authorities: PairingAuthorities,
    ) -> Result<(), LifeCycleError> {
        let renew_at = pki::last_third(&certificate).ok_or(AuthorityError::Malformed)?;
        let PairingAuthorities { cards: card_authority, terminals: terminal_authority } = authorities;
        let command = PairingCommand::Certify { certificate, card_authority, terminal_authority };
        let Answer::Done = self.ask_about_pairing(&card.terminal, command).await? else {
            return Err(CardError::Misbehaved(Violation::Unexpected).into());
        };
        let number = card.card;
        let entry = Entry::new(Action::CardCertified).terminal(&card.terminal);
        let entry = entry.detail("card", hex::encode(number));
        self.write(move |transaction, audit| {
            pairing_keys::certified(transaction, &number, renew_at)?;
            audit.append(transaction, &entry)
        })
        .await?;
        Ok(self.0.cards.bring_up_to_date(&card.terminal).await?)
    }

    async fn ask_about_pairing(
        &self,
        terminal: &Name,
        command: PairingCommand,
    ) -> Result<Answer, LifeCycleError> {
        Ok(self.0.cards.command(terminal, Command::Pairing(command), None).await?)
    }

    /// Accepts a terminal's device, and has the key certified with which it pairs if it asks for that (PKCS#10, DER).
    ///
    /// # Errors
    /// [`AuthorityError::Unsupported`] where nothing pairs. Whatever fails, the device is not accepted and nothing that
    /// was issued for it stays valid.
    pub async fn enrol_device(
        &self,
        device: DeviceRecord,
        pairing_request: Option<Vec<u8>>,
        by: &Name,
    ) -> Result<Option<PairingCertificate>, LifeCycleError> {
        let (this, by) = (self.clone(), by.clone());
        Self::detached(async move {
            match pairing_request {
                Some(request) => this.enrol_to_pair(device, request, by).await.map(Some),
                None => this.accept(device, None, by).await.map(|()| None),
            }
        })
        .await
    }

    async fn enrol_to_pair(
        &self,
        device: DeviceRecord,
        request: Vec<u8>,
        by: Name,
    ) -> Result<PairingCertificate, LifeCycleError> {
        let card_authority = self.0.authority.pairing_ca(PairingCa::Cards).await?;
        let _only = self.0.locks.lock(&device.terminal).await;
        let queued = self.queue(&device.terminal, &request).await?;
        match self.0.authority.enroll_pairing(PairingCa::Terminals, &request).await {
            Ok(certificate) => {
                let device = DeviceRecord { pairing_certificate: Some(certificate.clone()), ..device };
                let accepted = self.accept(device, Some(queued.id), by).await;
                accepted.inspect_err(|_| self.unsettle())?;
                Ok(PairingCertificate { certificate, card_authority })
            }
            Err(error) => Err(self.not_enrolled(queued, error).await),
        }
    }

    /// Queues the revocation of what the authority will issue on this request, until the device is accepted.
    async fn queue(&self, terminal: &Name, request: &[u8]) -> Result<Queued, LifeCycleError> {
        let (terminal, request) = (terminal.clone(), request.to_vec());
        let queue = move |transaction: &Transaction<'_>| {
            let again = revocations::withdraw_request(transaction, &request)?;
            let purpose = Purpose::TerminalPairing;
            let id = revocations::queue_request(transaction, &terminal, purpose, &request)?;
            Ok(Queued { id, again })
        };
        Ok(self.0.store.write(queue).await?)
    }

    async fn accept(
        &self,
        device: DeviceRecord,
        queued: Option<i64>,
        by: Name,
    ) -> Result<(), LifeCycleError> {
        self.write(move |transaction, audit| {
            if let Some(queued) = queued {
                revocations::delete(transaction, queued)?;
            }
            if let Some(certificate) = &device.pairing_certificate {
                revocations::withdraw_certificate(transaction, certificate)?;
            }
            devices::insert(transaction, audit, &by, &device)
        })
        .await
    }

    async fn not_enrolled(&self, Queued { id, again }: Queued, error: AuthorityError) -> LifeCycleError {
        if again || error.may_have_had_effect() {
            self.unsettle();
            return error.into();
        }
        let withdraw = move |transaction: &Transaction<'_>| revocations::delete(transaction, id).map(drop);
        match self.write(move |transaction, _| withdraw(transaction)).await {
            Ok(()) => error.into(),
            Err(error) => error,
        }
    }
}

/// The subject of a card's pairing certificate: the card's identity as common name.
pub(super) fn subject(card: &CardId) -> Vec<u8> {
    let name: DistinguishedName = format!("CN={}", hex::encode(card)).parse().expect("hexadecimal digits");
    name.to_der().expect("a short name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cards_subject_is_its_identity() {
        let der = subject(&[0xAB; 16]);
        let (rest, name) =
            <x509_parser::x509::X509Name<'_> as x509_parser::prelude::FromDer<_>>::from_der(&der).unwrap();
        assert_eq!((rest.len(), name.to_string()), (0, format!("CN={}", "ab".repeat(16))));
    }
}
