//! GENERAL AUTHENTICATE with an asymmetric key (SP 800-73-5, part 2, 3.2.4 and appendix A.3 to A.5).

use alloc::vec::Vec;

use cardhost_wire::{
    key::{Algorithm, KeyReference},
    status::Status,
    tlv::object,
};
use zeroize::Zeroizing;

use super::{
    command::{AuthenticateKey, DynamicAuthentication, GeneralAuthenticate},
    keys::{KeyRecord, LoadedKeys, PinPolicy, refused},
    management,
    session::Session,
};
use crate::{crypto::PrivateKey, services::Services};

/// GENERAL AUTHENTICATE.
pub(super) fn general_authenticate(
    loaded: &mut LoadedKeys,
    session: &mut Session,
    services: &mut Services<'_>,
    command: &GeneralAuthenticate<'_>,
) -> Result<Vec<u8>, Status> {
    match command.key {
        AuthenticateKey::Management(algorithm) => {
            management::authenticate(session, services, algorithm, &command.step)
        }
        AuthenticateKey::User { reference, algorithm } => {
            use_key(loaded, session, services, reference, algorithm, &command.step)
        }
    }
}

fn use_key(
    loaded: &mut LoadedKeys,
    session: &mut Session,
    services: &mut Services<'_>,
    reference: KeyReference,
    algorithm: Algorithm,
    step: &DynamicAuthentication<'_>,
) -> Result<Vec<u8>, Status> {
    let record = KeyRecord::load(services.nvm(), reference)?.ok_or(Status::WRONG_DATA)?;
    authorise(session, record.pin_policy())?;
    if record.algorithm() != algorithm {
        return Err(Status::WRONG_DATA);
    }
    let key = loaded.load(reference, &record)?;
    let answer = private_operation(&key, step, &mut services.rng())?;
    Ok(object(0x7C, &object(0x82, &answer)))
}

/// Every use of a private key spends the freshness of the PIN, also one that needed none.
fn authorise(session: &mut Session, policy: PinPolicy) -> Result<(), Status> {
    let fresh = session.take_fresh_pin().is_some();
    let allowed = match policy {
        PinPolicy::Never => true,
        PinPolicy::Once => session.pin().is_some(),
        PinPolicy::Always => fresh,
    };
    if allowed { Ok(()) } else { Err(Status::SECURITY_STATUS_NOT_SATISFIED) }
}

fn private_operation(
    key: &PrivateKey,
    step: &DynamicAuthentication<'_>,
    rng: &mut impl rand_core::CryptoRng,
) -> Result<Zeroizing<Vec<u8>>, Status> {
    let answer = match (step, key.algorithm()) {
        (DynamicAuthentication::Sign(number), Algorithm::Rsa2048 | Algorithm::Rsa3072) => {
            key.raw_rsa(number, rng).map(Zeroizing::new)
        }
        (DynamicAuthentication::Sign(digest), Algorithm::P256 | Algorithm::P384) => {
            key.sign_digest(digest, rng).map(Zeroizing::new)
        }
        (DynamicAuthentication::Agree(point), _) => key.agree(point),
        _ => return Err(Status::WRONG_DATA),
    };
    answer.map_err(refused)
}
