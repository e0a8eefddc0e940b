//! The host's commands about pairing ([`cardhost_wire::pairing::PairingCommand`]). Each is checked here; none tells or
//! sets a pairing's keys.

use alloc::vec::Vec;

use cardhost_wire::{
    control::{Answer, Failure},
    key::Algorithm,
    pairing::{PairingCommand, PairingPolicy, Pairings},
    status::Status,
};
use der::Decode;
use x509_cert::name::Name;

use super::{
    Change, Ended, Part, Services,
    certification::{self, NotCertified},
    kvn::Kvn,
    pairings, policy,
    record::{self, CardKey, Certification},
    revocation::Revocations,
};
use crate::{
    control::own_state, crypto::PrivateKey, nvm::structure, piv::certification_request, services::Context,
};

/// Does one command of the host.
///
/// # Errors
/// The [`Failure`] that the host is told; nothing has changed then.
pub fn command(command: PairingCommand, context: &mut Context<'_>) -> Result<Answer, Failure> {
    let (ended, mut services) = context.pairings();
    match command {
        PairingCommand::Request(subject) => request(&mut services, &subject),
        PairingCommand::Certify { certificate, card_authority, terminal_authority } => {
            certify(&mut services, &certificate, &card_authority, &terminal_authority).map(done)
        }
        PairingCommand::Revoke(list) => revoke(ended, &mut services, &list).map(done),
        PairingCommand::Read => read(services.nvm()).map_err(own_state).map(Answer::Pairings),
        PairingCommand::Delete(kvn) => delete(ended, &mut services, kvn).map_err(own_state).map(done),
        PairingCommand::SetPolicy(wanted) => set_policy(&mut services, wanted).map_err(own_state).map(done),
    }
}

const fn done((): ()) -> Answer {
    Answer::Done
}

/// A request for the card's key, which is made at the first time.
fn request(services: &mut Services<'_>, subject: &[u8]) -> Result<Answer, Failure> {
    let subject = Name::from_der(subject).map_err(|_| Failure::Malformed)?;
    let key = card_key(services).map_err(own_state)?;
    let request = certification_request(subject, &key, &mut services.rng());
    request.map(Answer::CertificationRequest).map_err(|_| Failure::NoMemory)
}

fn card_key(services: &mut Services<'_>) -> Result<PrivateKey, Status> {
    if let Some(key) = CardKey::load(services.nvm())? {
        return Ok(key);
    }
    let key = PrivateKey::generate(Algorithm::P256, &mut services.rng()).map_err(|_| Status::UNSPECIFIED)?;
    services.commit(CardKey::new(&key).put(Change::new()))?;
    Ok(key)
}

/// Stores the card's certificate. The terminals' authority stays the one that it was the first time.
fn certify(
    services: &mut Services<'_>,
    certificate: &[u8],
    card_authority: &[u8],
    terminal_authority: &[u8],
) -> Result<(), Failure> {
    let key = CardKey::load(services.nvm()).map_err(own_state)?.ok_or(Failure::NoKey)?;
    let certification = certification::certify(&key, certificate, card_authority, terminal_authority)?;
    match Certification::load(services.nvm()).map_err(own_state)? {
        Some(known) if known.authority != certification.authority => Err(Failure::Policy),
        Some(known) if known == certification => Ok(()),
        _ => services.commit(certification.put(Change::new())).map_err(own_state),
    }
}

impl From<NotCertified> for Failure {
    fn from(refused: NotCertified) -> Self {
        match refused {
            NotCertified::Malformed => Self::Malformed,
            NotCertified::NotAuthentic => Self::NotAuthentic,
            NotCertified::OtherKey => Self::CertificateMismatch,
            NotCertified::OneAuthority => Self::Policy,
        }
    }
}

/// Accepts a list that is newer than the last, and ends the pairings of the certificates in it.
fn revoke(ended: &mut Ended, services: &mut Services<'_>, list: &[u8]) -> Result<(), Failure> {
    let by = Certification::load(services.nvm()).map_err(own_state)?.ok_or(Failure::NotAuthentic)?;
    let list = Revocations::verify(&by, list)?;
    match Revocations::load(services.nvm()).map_err(own_state)? {
        Some(last) if list.number() < last.number() => Err(Failure::Outdated),
        Some(last) if list.number() == last.number() => Ok(()),
        _ => accept(ended, services, list).map_err(own_state),
    }
}

fn accept(ended: &mut Ended, services: &mut Services<'_>, list: Revocations) -> Result<(), Status> {
    let mut revoked = pairings::all(services.nvm())?;
    revoked.retain(|(_, pairing)| list.contains(pairing.serial()));
    let kvns: Vec<Kvn> = revoked.into_iter().map(|(kvn, _)| kvn).collect();
    let change =
        kvns.iter().fold(list.put(Change::new()), |change, kvn| change.delete(record::pairing(*kvn)));
    services.commit(change)?;
    kvns.into_iter().for_each(|kvn| ended.pairing(kvn));
    ended.revoked(list);
    Ok(())
}

fn read(nvm: Part<'_>) -> Result<Pairings, Status> {
    let pairings = pairings::all(nvm)?.into_iter().map(|(kvn, pairing)| pairing.public(kvn)).collect();
    Ok(Pairings {
        certified: Certification::load(nvm)?.is_some(),
        policy: policy(nvm)?,
        revocations: Revocations::load(nvm)?.map(|list| list.number()),
        pairings,
    })
}

fn delete(ended: &mut Ended, services: &mut Services<'_>, kvn: u8) -> Result<(), Status> {
    let Some(kvn) = Kvn::parse(kvn) else { return Ok(()) };
    if services.nvm().read(record::pairing(kvn)).is_none() {
        return Ok(());
    }
    services.commit(Change::new().delete(record::pairing(kvn)))?;
    ended.pairing(kvn);
    Ok(())
}

fn set_policy(services: &mut Services<'_>, wanted: PairingPolicy) -> Result<(), Status> {
    if policy(services.nvm())? == wanted {
        return Ok(());
    }
    services.commit(Change::new().put(record::POLICY, structure::encode(&wanted)))
}
