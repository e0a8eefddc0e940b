//! GENERATE ASYMMETRIC KEY PAIR (SP 800-73-5, part 2, 3.3.2).

use alloc::vec::Vec;

use cardhost_wire::{
    key::{Algorithm, KeyReference},
    status::Status,
    tlv::{self, object},
};

use super::{
    command::KeyTemplate,
    keys::{self, LoadedKeys, PinPolicy},
    management::ManagementAuthenticated,
    record,
    session::Session,
};
use crate::{crypto::PublicKey, nvm::Change, services::Services};

/// GENERATE ASYMMETRIC KEY PAIR.
pub(super) fn generate_key_pair(
    loaded: &mut LoadedKeys,
    session: &Session,
    services: &mut Services<'_>,
    template: &KeyTemplate,
) -> Result<Vec<u8>, Status> {
    let proof = session.management()?;
    let policy = template.pin_policy.unwrap_or(PinPolicy::of_slot(template.reference));
    let public = replace_key(loaded, proof, services, template.reference, template.algorithm, policy)?;
    Ok(object(0x7F49, &public_key_objects(&public)))
}

/// Makes a key in a slot, in the place of the one that stands there.
fn replace_key(
    loaded: &mut LoadedKeys,
    _: &ManagementAuthenticated,
    services: &mut Services<'_>,
    reference: KeyReference,
    algorithm: Algorithm,
    pin_policy: PinPolicy,
) -> Result<PublicKey, Status> {
    let (key, record) = keys::generate(algorithm, pin_policy, &mut services.rng())?;
    services.commit(Change::new().put(record::key(reference), record::encode(&record)))?;
    loaded.keep(reference, &record, &key);
    Ok(record.public_key())
}

/// The public key's data objects (part 2, table 11): 86 point, or 81 modulus and 82 exponent.
pub(super) fn public_key_objects(public: &PublicKey) -> Vec<u8> {
    match public.algorithm() {
        Algorithm::P256 | Algorithm::P384 => object(0x86, public.as_bytes()),
        Algorithm::Rsa2048 | Algorithm::Rsa3072 => {
            let mut objects = object(0x81, public.as_bytes());
            tlv::push(&mut objects, 0x82, &PublicKey::public_exponent());
            objects
        }
    }
}
