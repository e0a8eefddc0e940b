//! Data objects: GET DATA and PUT DATA (SP 800-73-5, part 1, 3 and appendix A; part 2, 3.1.2 and 3.3.1).

use alloc::vec::Vec;

use cardhost_wire::{
    aid::Aid,
    key::KeyReference,
    status::Status,
    tlv::{self, Tag, object},
};
use zeroize::Zeroizing;

use super::{keys::ATTESTATION, record, session::Session};
use crate::{
    nvm::{Change, Part, RecordName},
    services::Services,
};

/// First of the retired keys' certificates, of key 82.
const FIRST_RETIRED: Tag = 0x5F_C10D;

/// A data object's tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DataObject(Tag);

impl DataObject {
    /// Which PINs the card knows.
    const DISCOVERY: Self = Self(0x7E);
    /// How many retired keys the card has.
    const KEY_HISTORY: Self = Self(0x5F_C10C);
    /// Card Holder Unique Identifier.
    pub(super) const CHUID: Self = Self(0x5F_C102);
    /// Card Capability Container.
    pub(super) const CARD_CAPABILITY_CONTAINER: Self = Self(0x5F_C107);

    /// Reads the tag list `5C`.
    pub(super) fn parse(name: &[u8]) -> Result<Self, Status> {
        match *name {
            [0x7E] => Ok(Self::DISCOVERY),
            [0x7F, 0x61] => Ok(Self(0x7F61)),
            [first, second, third] => Ok(Self(u32::from_be_bytes([0, first, second, third]))),
            _ => Err(Status::WRONG_DATA),
        }
    }

    /// The certificate object of a slot.
    pub(super) const fn certificate(reference: KeyReference) -> Option<Self> {
        match reference {
            KeyReference::AUTHENTICATION => Some(Self(0x5F_C105)),
            KeyReference::SIGNATURE => Some(Self(0x5F_C10A)),
            KeyReference::KEY_MANAGEMENT => Some(Self(0x5F_C10B)),
            KeyReference::CARD_AUTHENTICATION => Some(Self(0x5F_C101)),
            KeyReference(retired @ 0x82..=0x95) => Some(Self(FIRST_RETIRED + (retired - 0x82) as Tag)),
            ATTESTATION => Some(Self(0x5F_FF01)),
            _ => None,
        }
    }

    /// The record that stores it, for an object that can be stored.
    pub(super) fn record(self) -> Result<RecordName, Status> {
        record::object(self.0).ok_or(Status::NOT_FOUND)
    }

    /// Fingerprints, facial image, printed information, iris images, pairing code: part 1, table 2.
    const fn needs_pin(self) -> bool {
        matches!(self.0, 0x5F_C103 | 0x5F_C108 | 0x5F_C109 | 0x5F_C121 | 0x5F_C123)
    }
}

/// GET DATA.
pub(super) fn read(session: &Session, nvm: Part<'_>, wanted: DataObject) -> Result<Vec<u8>, Status> {
    if wanted == DataObject::DISCOVERY {
        return Ok(discovery());
    }
    if wanted.needs_pin() && session.pin().is_none() {
        return Err(Status::SECURITY_STATUS_NOT_SATISFIED);
    }
    match content(nvm, wanted)? {
        Some(content) => Ok(object(0x53, content)),
        None if wanted == DataObject::KEY_HISTORY => key_history(nvm).ok_or(Status::NOT_FOUND),
        None => Err(Status::NOT_FOUND),
    }
}

/// PUT DATA.
pub(super) fn write(
    session: &Session,
    services: &mut Services<'_>,
    wanted: DataObject,
    content: &[u8],
) -> Result<(), Status> {
    session.management()?;
    let change = put(Change::new(), wanted, content)?;
    services.commit(change)
}

/// An object's stored content.
pub(super) fn content(nvm: Part<'_>, wanted: DataObject) -> Result<Option<&[u8]>, Status> {
    Ok(nvm.read(wanted.record()?))
}

/// Adds an object to a change; empty content removes it.
pub(super) fn put(change: Change, wanted: DataObject, content: &[u8]) -> Result<Change, Status> {
    let id = wanted.record()?;
    Ok(if content.is_empty() { change.delete(id) } else { change.put(id, Zeroizing::new(content.to_vec())) })
}

/// The certificate (DER) in a slot's object. A compressed one the card cannot read.
pub(super) fn certificate(nvm: Part<'_>, reference: KeyReference) -> Option<&[u8]> {
    let stored = content(nvm, DataObject::certificate(reference)?).ok()??;
    let plain = matches!(tlv::find(stored, 0x71), Ok(None | Some([0])));
    if plain { tlv::find(stored, 0x70).ok()? } else { None }
}

/// A certificate object's content (part 1, table 10).
pub(super) fn certificate_content(certificate: &[u8]) -> Vec<u8> {
    [object(0x70, certificate), object(0x71, &[0]), object(0xFE, &[])].concat()
}

/// The PIV PIN alone satisfies access conditions; no global PIN, no biometrics, no virtual contact interface.
fn discovery() -> Vec<u8> {
    let usage_policy = [0x40, 0x00];
    object(0x7E, &[object(0x4F, Aid::PIV.as_bytes()), object(0x5F2F, &usage_policy)].concat())
}

/// Clients look for retired keys only as far as the key history counts. Where nobody wrote one, the card counts
/// up to the last retired certificate.
fn key_history(nvm: Part<'_>) -> Option<Vec<u8>> {
    let has_certificate = |&number: &u8| certificate(nvm, KeyReference(0x81 + number)).is_some();
    let on_card = (1..=20).rev().find(has_certificate)?;
    let content = [object(0xC1, &[on_card]), object(0xC2, &[0]), object(0xFE, &[])].concat();
    Some(object(0x53, &content))
}
