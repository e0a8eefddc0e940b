//! The application's records: one for PIN and PUK, one for the management key, one per key, one per data object.

use alloc::vec::Vec;

use cardhost_wire::{
    control::{Credential, KeyCredential},
    key::KeyReference,
    tlv::Tag,
};

use super::keys::KeyRecord;
pub(super) use crate::nvm::structure::{decode, encode, load};
use crate::nvm::{Part, Partition, RecordName};

/// PIN and PUK.
pub(super) const REFERENCE_DATA: RecordName = Partition::PIV.record(0);
/// The management key.
pub(super) const MANAGEMENT_KEY: RecordName = Partition::PIV.record(1);
/// Secrets made at personalisation, until acknowledged.
pub(super) const PENDING_SECRETS: RecordName = Partition::PIV.record(2);
const KEYS: u16 = 0x100;
const INTERINDUSTRY_OBJECTS: u16 = 0x200;
const YUBICO_OBJECTS: u16 = 0x300;

/// The record of a key.
pub(super) const fn key(reference: KeyReference) -> RecordName {
    Partition::PIV.record(KEYS + reference.0 as u16)
}

/// The record of a storable data object, 5FC1xx or 5FFFxx.
pub(super) const fn object(tag: Tag) -> Option<RecordName> {
    let low = (tag & 0xFF) as u16;
    match tag >> 8 {
        0x5FC1 => Some(Partition::PIV.record(INTERINDUSTRY_OBJECTS + low)),
        0x5FFF => Some(Partition::PIV.record(YUBICO_OBJECTS + low)),
        _ => None,
    }
}

/// The user's keys in this state.
pub fn credentials(nvm: Part<'_>) -> Vec<Credential> {
    nvm.names(Partition::PIV).filter_map(|name| credential(nvm, name)).collect()
}

fn credential(nvm: Part<'_>, name: RecordName) -> Option<Credential> {
    let number = name.number().checked_sub(KEYS)?;
    let key_reference =
        u8::try_from(number).map(KeyReference).ok().filter(|reference| reference.is_user_key())?;
    let public_key = decode::<KeyRecord>(nvm.read(name)?).ok()?.public_key();
    Some(Credential::Key(KeyCredential {
        key_reference,
        algorithm: public_key.algorithm(),
        public_key: public_key.fingerprint(),
    }))
}
