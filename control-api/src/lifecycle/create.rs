//! Creation of a certificate, and its undoing.

use cardhost_wire::{
    control::{Answer, Command, Failure},
    key::{Algorithm, KeyReference},
};
use der::{Encode as _, pem::LineEnding};
use jiff::Timestamp;
use uuid::Uuid;
use x509_cert::name::Name as DistinguishedName;

use super::{
    By, CreateCertificate, Created, LifeCycle, LifeCycleError,
    intent::{CreateStep, Intent, Work},
};
use crate::{
    audit::{Action, Entry},
    auth::name::Name,
    card::{CardError, Violation},
    store::{
        cards::{self, CardRecord},
        certificates::{self, CertificateRecord},
        intents,
        quotas::{self, Verdict},
        revocations::{self, Purpose},
    },
};

/// What a creation needs besides its intent.
struct Order {
    intent: Intent,
    key_reference: KeyReference,
    algorithm: Algorithm,
    subject: Vec<u8>,
    /// For a card that has to be made first.
    personalise: Option<Command>,
}

impl LifeCycle {
    /// Makes a key in the terminal's card, the card too if it has none, and has it certified.
    pub async fn create_certificate(
        &self,
        terminal: &Name,
        request: CreateCertificate,
        by: &Name,
    ) -> Result<Created, LifeCycleError> {
        let (this, terminal, by) = (self.clone(), terminal.clone(), Some(by.clone()));
        Self::detached(async move { this.create(&terminal, request, by).await }).await
    }

    async fn create(
        &self,
        terminal: &Name,
        request: CreateCertificate,
        by: By,
    ) -> Result<Created, LifeCycleError> {
        let subject = distinguished_name(request.subject.as_deref(), terminal)?;
        let _only = self.0.locks.lock(terminal).await;
        self.settle(terminal).await?;
        let mut order = self.plan(terminal, request, subject, by).await?;
        let card_created = order.personalise.is_some();
        let issued = match self.until_issued(&mut order).await {
            Ok(issued) => issued,
            Err((error, step)) => return Err(self.give_up(order.intent.at(order.work(step)), error).await),
        };
        self.import(&order.intent, issued.key_reference)
            .await
            .map_err(|error| self.carried_forward(error))?;
        let secrets = if card_created { self.first_secrets(terminal).await? } else { None };
        Ok(Created {
            id: issued.id,
            key_reference: issued.key_reference,
            pem: pem(&issued.der),
            card_created,
            secrets,
        })
    }

    /// Checks what can be checked before anything is made, and writes the intent down.
    async fn plan(
        &self,
        terminal: &Name,
        request: CreateCertificate,
        subject: Vec<u8>,
        by: By,
    ) -> Result<Order, LifeCycleError> {
        let (key_reference, algorithm) = (request.key_reference, request.algorithm);
        let chosen = request.pin.is_some() || request.puk.is_some() || request.management_key.is_some();
        let card = self.card_of(terminal).await?;
        if let Some(card) = &card {
            self.check_slot(card, key_reference).await?;
            if chosen {
                return Err(LifeCycleError::AlreadyPersonalised);
            }
        }
        let work = Work::Create { key_reference, algorithm, step: CreateStep::Planned };
        let intent = Intent::new(Uuid::new_v4(), terminal, &by, work);
        self.begin(&intent, card.is_none()).await?;
        let CreateCertificate { pin, puk, management_key, .. } = request;
        let personalise = Command::Personalise { pin, puk, management_key };
        let personalise = card.is_none().then_some(personalise);
        Ok(Order { intent, key_reference, algorithm, subject, personalise })
    }

    /// Writes the intent down, unless it is to make a card and there may be no more.
    async fn begin(&self, intent: &Intent, makes_card: bool) -> Result<(), LifeCycleError> {
        let (intent, quotas) = (intent.clone(), self.0.quotas);
        let begun = self.0.store.write(move |transaction| {
            let verdict = match makes_card {
                true => quotas::admit(transaction, &intent.terminal, quotas)?,
                false => Verdict::Admitted,
            };
            if verdict == Verdict::Admitted {
                intent.put(transaction)?;
            }
            Ok(verdict)
        });
        match begun.await? {
            Verdict::Admitted => Ok(()),
            Verdict::TooMany { most } => Err(LifeCycleError::TooManyCards(most)),
            Verdict::TooManyOfUser { most } => Err(LifeCycleError::TooManyCardsOfUser(most)),
        }
    }

    async fn check_slot(&self, card: &CardRecord, slot: KeyReference) -> Result<(), LifeCycleError> {
        let card = card.card;
        let keys = self.read(move |connection| cards::keys(connection, &card)).await?;
        if keys.iter().any(|key| key.key_reference == slot) {
            return Err(LifeCycleError::SlotOccupied(slot));
        }
        Ok(())
    }

    /// Everything up to the certificate in the store; a failure says how far it may have come.
    async fn until_issued(
        &self,
        order: &mut Order,
    ) -> Result<CertificateRecord, (LifeCycleError, CreateStep)> {
        let local = |error| (error, CreateStep::Planned);
        let request = self.generate(order).await.map_err(local)?;
        let enrolling = order.intent.at(order.work(CreateStep::Enrolling(request.clone())));
        self.write(move |transaction, _| enrolling.put(transaction)).await.map_err(local)?;
        let certificate = self.0.authority.enroll(&request).await.map_err(|error| {
            let step = match error.may_have_had_effect() {
                true => CreateStep::Enrolling(request.clone()),
                false => CreateStep::Planned,
            };
            (error.into(), step)
        })?;
        let stored = self.store_issued(order, certificate).await;
        stored.map_err(|error| (error, CreateStep::Enrolling(request)))
    }

    /// Card, its pairing key's certificate, and key; gives the certification request.
    async fn generate(&self, order: &mut Order) -> Result<Vec<u8>, LifeCycleError> {
        let (terminal, id) = (&order.intent.terminal, order.intent.id);
        if let Some(personalise) = order.personalise.take() {
            let card = self.0.cards.create(terminal).await?;
            let entry = entry(Action::CardCreated, &order.intent).detail("card", hex::encode(card));
            self.write(move |transaction, audit| audit.append(transaction, &entry)).await?;
            self.personalise(terminal, personalise).await?;
        }
        self.certify_card(terminal).await?;
        let command = Command::GenerateKey {
            key_reference: order.key_reference,
            algorithm: order.algorithm,
            subject: order.subject.clone(),
        };
        match self.0.cards.command(terminal, command, Some(id)).await {
            Ok(Answer::CertificationRequest(request)) => Ok(request),
            Ok(_) => Err(CardError::Misbehaved(Violation::Unexpected).into()),
            Err(CardError::Declined(Failure::SlotOccupied)) => {
                Err(LifeCycleError::SlotOccupied(order.key_reference))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn store_issued(&self, order: &Order, der: Vec<u8>) -> Result<CertificateRecord, LifeCycleError> {
        let (terminal, id) = (order.intent.terminal.clone(), order.intent.id);
        let issued = order.intent.at(order.work(CreateStep::Issued));
        let stored = self.0.store.write(move |transaction| {
            let Some(card) = cards::find(transaction, &terminal)? else { return Ok(None) };
            let Some(key) = cards::credential_of(transaction, &card.card, id)? else { return Ok(None) };
            let record = CertificateRecord {
                id,
                terminal,
                card: card.card,
                key_reference: key.key_reference,
                algorithm: key.algorithm,
                public_key: key.public_key,
                der,
                created_at: Timestamp::now(),
            };
            certificates::insert(transaction, &record)?;
            issued.put(transaction)?;
            Ok(Some(record))
        });
        stored.await?.ok_or(LifeCycleError::NoCertificate)
    }

    /// The last step: the certificate into the card. Also what carries a creation forward.
    pub(super) async fn import(&self, intent: &Intent, slot: KeyReference) -> Result<(), LifeCycleError> {
        let (id, terminal) = (intent.id, intent.terminal.clone());
        let find = move |connection: &rusqlite::Connection| certificates::find(connection, &terminal, id);
        // Gone if its key was deleted by APDU meanwhile: then its revocation is queued.
        if let Some(record) = self.read(find).await? {
            let command = Command::ImportCertificate { key_reference: slot, certificate: record.der };
            self.0.cards.command(&intent.terminal, command, None).await?;
        }
        let entry = entry(Action::CertificateCreated, intent).detail("key-reference", slot);
        self.finish(intent, entry).await?;
        Ok(self.0.cards.announce(&intent.terminal).await?)
    }

    /// Undoes a creation that failed; what cannot be undone now is left to the reconciliation.
    async fn give_up(&self, intent: Intent, error: LifeCycleError) -> LifeCycleError {
        tracing::warn!(terminal = %intent.terminal, %error, "a creation is undone");
        if let Err(undoing) = self.undo(&intent).await {
            tracing::error!(error = %undoing, "the undoing is carried forward");
        }
        self.0.unsettled.notify_one();
        error
    }

    /// Undoes a creation from any step before `Issued`.
    pub(super) async fn undo(&self, intent: &Intent) -> Result<(), LifeCycleError> {
        let Work::Create { key_reference, algorithm, step } = &intent.body.work else { return Ok(()) };
        let undoing =
            Work::Create { key_reference: *key_reference, algorithm: *algorithm, step: CreateStep::Undoing };
        let (undoing, step, terminal) = (intent.at(undoing), step.clone(), intent.terminal.clone());
        let begin = move |transaction: &rusqlite::Transaction<'_>| {
            if let CreateStep::Enrolling(request) = step {
                revocations::queue_request(transaction, &terminal, Purpose::Credential, &request)?;
            }
            undoing.put(transaction)
        };
        self.write(move |transaction, _| begin(transaction)).await?;
        self.remove_key(intent).await?;
        let entry = entry(Action::CertificateUndone, intent).detail("key-reference", key_reference);
        self.finish(intent, entry).await
    }

    async fn remove_key(&self, intent: &Intent) -> Result<(), LifeCycleError> {
        let Some(card) = self.card_of(&intent.terminal).await? else { return Ok(()) };
        let (id, number) = (intent.id, card.card);
        let made = self.read(move |connection| cards::credential_of(connection, &number, id)).await?;
        if let Some(credential) = made {
            let command = Command::DeleteCredential(credential.key_reference);
            self.0.cards.command(&intent.terminal, command, None).await?;
        }
        self.end_if_empty(&card).await?;
        self.destroy_if_ending(&intent.terminal, &intent.body.by).await.map(drop)
    }

    /// Takes an intent out together with what the audit log is to say of it.
    pub(super) async fn finish(&self, intent: &Intent, entry: Entry) -> Result<(), LifeCycleError> {
        let id = intent.id;
        self.write(move |transaction, audit| {
            intents::delete(transaction, id)?;
            audit.append(transaction, &entry)
        })
        .await
    }
}

impl Order {
    fn work(&self, step: CreateStep) -> Work {
        Work::Create { key_reference: self.key_reference, algorithm: self.algorithm, step }
    }
}

/// An audit entry about an intent's certificate, by whoever asked for it.
pub(super) fn entry(action: Action, intent: &Intent) -> Entry {
    let entry = Entry::new(action).terminal(&intent.terminal).detail("certificate", intent.certificate());
    match &intent.body.by {
        Some(user) => entry.user(user),
        None => entry,
    }
}

/// A certificate (DER) as PEM.
pub fn pem(der: &[u8]) -> String {
    der::pem::encode_string("CERTIFICATE", LineEnding::LF, der).unwrap_or_default()
}

fn distinguished_name(subject: Option<&str>, terminal: &Name) -> Result<Vec<u8>, LifeCycleError> {
    let default = format!("CN={terminal}");
    let name: DistinguishedName =
        subject.unwrap_or(&default).parse().map_err(|_| LifeCycleError::MalformedSubject)?;
    name.to_der().map_err(|_| LifeCycleError::MalformedSubject)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_distinguished_names() {
        let terminal = "till-7".parse().unwrap();
        let default = distinguished_name(None, &terminal).unwrap();
        assert_eq!(default, distinguished_name(Some("CN=till-7"), &terminal).unwrap());
        assert!(distinguished_name(Some("CN=Jane,O=Example,C=DE"), &terminal).is_ok());
        assert!(distinguished_name(Some("no name"), &terminal).is_err());
    }
}
