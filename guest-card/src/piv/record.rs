//! The application's records: one for PIN and PUK, one for the management key, one per key, one per data object.
//!
//! Each begins with its format's version, so that a later image can read what an earlier one wrote.

use alloc::vec::Vec;

use cardhost_wire::{control::Credential, key::KeyReference, status::Status, tlv::Tag};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::keys::KeyRecord;
use crate::nvm::{Nvm, Partition, RecordName};

/// PIN and PUK.
pub(super) const REFERENCE_DATA: RecordName = Partition::PIV.record(0);
/// The management key.
pub(super) const MANAGEMENT_KEY: RecordName = Partition::PIV.record(1);
/// Secrets made at personalisation, until acknowledged.
pub(super) const PENDING_SECRETS: RecordName = Partition::PIV.record(2);
const KEYS: u16 = 0x100;
const INTERINDUSTRY_OBJECTS: u16 = 0x200;
const YUBICO_OBJECTS: u16 = 0x300;

const FORMAT: u8 = 1;
/// Longest record of a structure: an RSA-3072 key with its public half takes 800 bytes.
const LONGEST_STRUCTURE: usize = 1024;

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
pub fn credentials(nvm: &Nvm) -> Vec<Credential> {
    nvm.names(Partition::PIV).filter_map(|name| credential(nvm, name)).collect()
}

fn credential(nvm: &Nvm, name: RecordName) -> Option<Credential> {
    let number = name.number().checked_sub(KEYS)?;
    let key_reference =
        u8::try_from(number).map(KeyReference).ok().filter(|reference| reference.is_user_key())?;
    let public_key = decode::<KeyRecord>(nvm.read(name)?).ok()?.public_key();
    Some(Credential {
        key_reference,
        algorithm: public_key.algorithm(),
        public_key: public_key.fingerprint(),
    })
}

/// Writes a structure.
pub(super) fn encode<T: Serialize>(structure: &T) -> Zeroizing<Vec<u8>> {
    // The capacity is fixed first: a vector that grows would leave copies of its secrets behind.
    let mut bytes = Vec::with_capacity(LONGEST_STRUCTURE);
    bytes.push(FORMAT);
    Zeroizing::new(postcard::to_extend(structure, bytes).expect("our structures are encodable"))
}

/// Reads a structure; a record that is not one of ours is a memory failure.
pub(super) fn decode<T: DeserializeOwned>(content: &[u8]) -> Result<T, Status> {
    match content.split_first() {
        Some((&FORMAT, rest)) => match postcard::take_from_bytes(rest) {
            Ok((structure, [])) => Ok(structure),
            _ => Err(Status::MEMORY_FAILURE),
        },
        _ => Err(Status::MEMORY_FAILURE),
    }
}

/// Reads the structure in a record, if the record is there.
pub(super) fn load<T: DeserializeOwned>(nvm: &Nvm, name: RecordName) -> Result<Option<T>, Status> {
    nvm.read(name).map(decode).transpose()
}
