//! What the card says of itself: CHUID, capability container, serial number.
//!
//! All come from the card's identity, so that clients find the same card again, also after Yubico's RESET.

use alloc::vec::Vec;

use cardhost_wire::{control::CardId, tlv::object};
use sha2::{Digest, Sha256};

use super::object::{DataObject, put};
use crate::nvm::Change;

/// FASC-N of a card outside the federal government (SP 800-73-5, part 1, 3.1.2): agency 9999, system 9999,
/// credential 999999, and so on, in its 5-bit code.
const NON_FEDERAL_FASC_N: [u8; 25] = [
    0xD4, 0xE7, 0x39, 0xDA, 0x73, 0x9C, 0xED, 0x39, 0xCE, 0x73, 0x9D, 0x83, 0x68, 0x58, 0x21, 0x08, 0x42,
    0x10, 0x84, 0x21, 0xC8, 0x42, 0x10, 0xC3, 0xEB,
];

/// Adds CHUID and capability container to a change.
pub(super) fn put_identity(change: Change, card: &CardId) -> Change {
    let change = put(change, DataObject::CHUID, &chuid(card)).expect("5FC102 can be stored");
    put(change, DataObject::CARD_CAPABILITY_CONTAINER, &capability_container(card))
        .expect("5FC107 can be stored")
}

/// Yubico's serial number: 31 bits of the identity's hash.
pub(super) fn serial(card: &CardId) -> u32 {
    let hash: [u8; 32] = Sha256::digest(card).into();
    let [a, b, c, d, ..] = hash;
    u32::from_be_bytes([a & 0x7F, b, c, d])
}

/// Card Holder Unique Identifier (part 1, table 9), unsigned; its card UUID is the card's identity.
fn chuid(card: &CardId) -> Vec<u8> {
    [
        object(0x30, &NON_FEDERAL_FASC_N),
        object(0x34, &uuid(card)),
        object(0x35, b"99991231"),
        object(0x3E, &[]),
        object(0xFE, &[]),
    ]
    .concat()
}

/// The identity as a UUID of version 4 (RFC 9562, 5.4).
const fn uuid(card: &CardId) -> [u8; 16] {
    let mut uuid = *card;
    uuid[6] = uuid[6] & 0x0F | 0x40;
    uuid[8] = uuid[8] & 0x3F | 0x80;
    uuid
}

/// Card Capability Container (part 1, table 8): only the card identifier, the versions and PIV's data model.
fn capability_container(card: &CardId) -> Vec<u8> {
    let issuer = [0xA0, 0x00, 0x00, 0x01, 0x16, 0xFF, 0x02];
    let mut content = object(0xF0, &[&issuer[..], &card[..14]].concat());
    content.extend(object(0xF1, &[0x21]));
    content.extend(object(0xF2, &[0x21]));
    content.extend(object(0xF3, &[]));
    content.extend(object(0xF4, &[0x00]));
    content.extend(object(0xF5, &[0x10]));
    for tag in [0xF6, 0xF7, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE] {
        content.extend(object(tag, &[]));
    }
    content
}
