//! What the host may do on the control stream ([`cardhost_wire::control::Command`]). Each function makes the
//! checks itself and answers the protocol's own results; no other use of a key is possible here.
//!
//! The host's commands know no [`super::Session`]: a PIN in one serves that command only.

use cardhost_wire::{
    control::{Answer, Command, Failure, authentication_message},
    key::{Algorithm, KeyReference, Secret},
    status::Status,
};
use der::{Decode, Encode};
use sha2::{Digest, Sha256};
use x509_cert::{Certificate, name::Name};

use super::{
    Piv,
    keys::{self, KeyRecord, LoadedKeys, PinPolicy},
    object::{self, DataObject},
    personalisation::{self, MadeSecrets},
    record,
    reference_data::{padded, verify_pin},
    request::{self, certification_request},
};
use crate::{
    isd::{self, key_set::StoredKeySet},
    nvm::{Change, Part},
    services::Services,
};

impl Piv {
    /// Does one command of the host.
    ///
    /// # Errors
    /// The [`Failure`] that the host is told; nothing has changed then but a retry counter.
    pub fn command(&mut self, command: Command, services: &mut Services<'_>) -> Result<Answer, Failure> {
        let loaded = &mut self.loaded;
        match command {
            Command::Personalise { pin, puk, management_key } => {
                personalise(services, pin, puk, management_key)
            }
            Command::PendingSecrets => pending_secrets(services.nvm()),
            Command::AcknowledgeSecrets => acknowledge_secrets(services),
            Command::GenerateKey { key_reference, algorithm, subject } => {
                generate_key(loaded, services, key_reference, algorithm, &subject)
            }
            Command::RenewalRequest(reference) => renewal_request(loaded, services, reference),
            Command::ImportCertificate { key_reference, certificate } => {
                import_certificate(services, key_reference, &certificate)
            }
            Command::ReadCertificate(reference) => read_certificate(services.nvm(), reference),
            Command::DeleteCredential(reference) => delete_credential(loaded, services, reference),
            Command::SignChallenge { key_reference, challenge, pin } => {
                sign_challenge(loaded, services, key_reference, &challenge, pin)
            }
            // The card OS's own, and another container's.
            Command::ReadProtocols
            | Command::PairProtocols(_)
            | Command::Pairing(_)
            | Command::Profile(_) => Err(Failure::Malformed),
        }
    }

    /// Development only: a card with PIN 123456, PUK 12345678, the well-known management key and the well-known keys of
    /// the issuer's security domain. One that was personalised before stays as it is.
    ///
    /// # Errors
    /// [`Failure::NotCommitted`].
    pub fn personalise_with_default_keys(&mut self, services: &mut Services<'_>) -> Result<(), Failure> {
        if is_personalised(services.nvm()) {
            return Ok(());
        }
        let change = personalisation::well_known(&services.card()).and(isd::personalisation::well_known());
        services.commit(change).map_err(own_state)
    }
}

/// True if the card has a PIN, a PUK and a management key.
fn is_personalised(nvm: Part<'_>) -> bool {
    nvm.read(record::REFERENCE_DATA).is_some()
}

/// Sets PIN, PUK and management key of a card that was never personalised, and makes those that are missing, as well as
/// the keys of the issuer's security domain: all of it at once, so that no card has one without the other.
fn personalise(
    services: &mut Services<'_>,
    pin: Option<Secret>,
    puk: Option<Secret>,
    management_key: Option<Secret>,
) -> Result<Answer, Failure> {
    if is_personalised(services.nvm()) {
        return Err(Failure::AlreadyPersonalised);
    }
    let card = services.card();
    let change = personalisation::personalised(&card, &mut services.rng(), pin, puk, management_key)
        .map_err(|_| Failure::Malformed)?;
    let change = change.and(isd::personalisation::personalised(&mut services.rng()));
    services.commit(change).map_err(own_state)?;
    Ok(Answer::Done)
}

/// The secrets that personalisation made, until acknowledged.
fn pending_secrets(nvm: Part<'_>) -> Result<Answer, Failure> {
    let made: Option<MadeSecrets> = record::load(nvm, record::PENDING_SECRETS).map_err(own_state)?;
    let set = isd::personalisation::pending(nvm).map_err(own_state)?;
    if made.is_none() && set.is_none() {
        return Err(Failure::NoSecrets);
    }
    let MadeSecrets { pin, puk, management_key } = made.unwrap_or_default();
    Ok(Answer::Secrets {
        pin,
        puk,
        management_key,
        security_domain_keys: set.as_ref().map(StoredKeySet::concatenated),
        second_security_domain_keys: None,
    })
}

/// Erases the copies kept for delivery.
fn acknowledge_secrets(services: &mut Services<'_>) -> Result<Answer, Failure> {
    pending_secrets(services.nvm())?;
    let change = isd::personalisation::acknowledged().delete(record::PENDING_SECRETS);
    services.commit(change).map_err(own_state)?;
    Ok(Answer::Done)
}

/// Generates a key in an empty slot and answers the one request for it. The slot's own PIN policy applies.
fn generate_key(
    loaded: &mut LoadedKeys,
    services: &mut Services<'_>,
    reference: KeyReference,
    algorithm: Algorithm,
    subject: &[u8],
) -> Result<Answer, Failure> {
    let subject = Name::from_der(subject).map_err(|_| Failure::Malformed)?;
    let slot = certificate_object(reference)?;
    if services.nvm().read(record::key(reference)).is_some() {
        return Err(Failure::SlotOccupied);
    }
    let policy = PinPolicy::of_slot(reference);
    let (key, record) = keys::generate(algorithm, policy, &mut services.rng()).map_err(own_state)?;
    let request = certification_request(subject, &key, &mut services.rng()).map_err(|_| Failure::NoMemory)?;
    // A certificate of an earlier key would not be this key's.
    let change = Change::new().put(record::key(reference), record::encode(&record));
    services.commit(change.delete(slot.record().map_err(own_state)?)).map_err(own_state)?;
    loaded.keep(reference, &record, &key);
    Ok(Answer::CertificationRequest(request))
}

/// A request with the subject and key of the certificate in a slot.
fn renewal_request(
    loaded: &mut LoadedKeys,
    services: &mut Services<'_>,
    reference: KeyReference,
) -> Result<Answer, Failure> {
    let record = key_record(services.nvm(), reference)?;
    let certificate = stored_certificate(services.nvm(), reference)?;
    check_same_key(&certificate, &record)?;
    let subject = certificate.tbs_certificate().subject().clone();
    let key = loaded.load(reference, &record).map_err(own_state)?;
    let request = request::renewal_request(subject, &key, &mut services.rng());
    Ok(Answer::CertificationRequest(request.map_err(|_| Failure::NoMemory)?))
}

/// Stores a certificate whose public key is the slot's.
fn import_certificate(
    services: &mut Services<'_>,
    reference: KeyReference,
    certificate: &[u8],
) -> Result<Answer, Failure> {
    let slot = certificate_object(reference)?;
    let parsed = Certificate::from_der(certificate).map_err(|_| Failure::Malformed)?;
    check_same_key(&parsed, &key_record(services.nvm(), reference)?)?;
    let content = object::certificate_content(certificate);
    services.commit(object::put(Change::new(), slot, &content).map_err(own_state)?).map_err(own_state)?;
    Ok(Answer::Done)
}

/// Reads the certificate in a slot.
fn read_certificate(nvm: Part<'_>, reference: KeyReference) -> Result<Answer, Failure> {
    certificate_object(reference)?;
    let certificate = object::certificate(nvm, reference).ok_or(Failure::NoCertificate)?;
    Ok(Answer::Certificate(certificate.to_vec()))
}

/// Erases a slot's key and certificate, if they are there.
fn delete_credential(
    loaded: &mut LoadedKeys,
    services: &mut Services<'_>,
    reference: KeyReference,
) -> Result<Answer, Failure> {
    let certificate = certificate_object(reference)?.record().map_err(own_state)?;
    let records = [record::key(reference), certificate];
    if records.iter().any(|&id| services.nvm().read(id).is_some()) {
        services.commit(records.into_iter().fold(Change::new(), Change::delete)).map_err(own_state)?;
    }
    loaded.forget(reference);
    Ok(Answer::Done)
}

/// Signs the authority's challenge, bound to the slot's certificate. A wrong PIN counts like VERIFY's.
fn sign_challenge(
    loaded: &mut LoadedKeys,
    services: &mut Services<'_>,
    reference: KeyReference,
    challenge: &[u8; 32],
    pin: Option<Secret>,
) -> Result<Answer, Failure> {
    let record = key_record(services.nvm(), reference)?;
    let certificate = object::certificate(services.nvm(), reference).ok_or(Failure::NoCertificate)?;
    let message = authentication_message(challenge, &Sha256::digest(certificate).into());
    authorise(services, record.pin_policy(), pin)?;
    let key = loaded.load(reference, &record).map_err(own_state)?;
    let signature = key.sign_message(&message, &mut services.rng()).map_err(|_| Failure::NoMemory)?;
    Ok(Answer::Signature { algorithm: record.algorithm(), signature })
}

fn authorise(services: &mut Services<'_>, policy: PinPolicy, pin: Option<Secret>) -> Result<(), Failure> {
    if policy == PinPolicy::Never {
        return Ok(());
    }
    let pin = padded(&pin.ok_or(Failure::PinRequired)?.0).ok_or(Failure::Malformed)?;
    let verified = verify_pin(services, &pin);
    verified.map(drop).map_err(refused_pin)
}

fn refused_pin(status: Status) -> Failure {
    match status {
        Status::AUTHENTICATION_BLOCKED => Failure::PinBlocked,
        Status(wrong @ 0x63C0..=0x63CF) => Failure::PinWrong((wrong & 0x0F) as u8),
        status => own_state(status),
    }
}

fn certificate_object(reference: KeyReference) -> Result<DataObject, Failure> {
    let object = if reference.is_user_key() { DataObject::certificate(reference) } else { None };
    object.ok_or(Failure::Malformed)
}

fn key_record(nvm: Part<'_>, reference: KeyReference) -> Result<KeyRecord, Failure> {
    certificate_object(reference)?;
    KeyRecord::load(nvm, reference).map_err(own_state)?.ok_or(Failure::NoKey)
}

fn stored_certificate(nvm: Part<'_>, reference: KeyReference) -> Result<Certificate, Failure> {
    let der = object::certificate(nvm, reference).ok_or(Failure::NoCertificate)?;
    Certificate::from_der(der).map_err(|_| Failure::NoCertificate)
}

fn check_same_key(certificate: &Certificate, record: &KeyRecord) -> Result<(), Failure> {
    let certified = certificate.tbs_certificate().subject_public_key_info().to_der();
    let same = certified.is_ok_and(|der| der == record.public_key().to_spki_der());
    if same { Ok(()) } else { Err(Failure::CertificateMismatch) }
}

/// What the card could not do with its own state.
fn own_state(status: Status) -> Failure {
    match status {
        Status::MEMORY_FAILURE => Failure::NotCommitted,
        _ => Failure::NoMemory,
    }
}
