//! APDUs of the PIV application (SP 800-73-5, part 2) and of its Yubico dialect.

use aes::{
    Aes256,
    cipher::{Array, BlockCipherEncrypt as _, KeyInit as _},
};
use cardhost_wire::{apdu::CommandApdu, key::KeyReference, tlv};

/// Reference of the PIN.
pub const PIN_REFERENCE: u8 = 0x80;
/// Reference of the PUK.
pub const PUK_REFERENCE: u8 = 0x81;
/// Algorithm identifiers.
const AES_256: u8 = 0x0C;
const P_256: u8 = 0x11;

/// SELECT of the PIV application.
pub fn select() -> Vec<u8> {
    let aid = [0xA0, 0x00, 0x00, 0x03, 0x08, 0x00, 0x00, 0x10, 0x00, 0x01, 0x00];
    command(0xA4, 0x04, 0x00, &aid, Some(256))
}

/// VERIFY of a PIN; the empty one asks for the state.
pub fn verify(pin: &str) -> Vec<u8> {
    match pin {
        "" => command(0x20, 0x00, PIN_REFERENCE, &[], None),
        pin => command(0x20, 0x00, PIN_REFERENCE, &padded(pin), None),
    }
}

/// RESET RETRY COUNTER: a new PIN by the PUK.
pub fn reset_retry_counter(puk: &str, pin: &str) -> Vec<u8> {
    command(0x2C, 0x00, PIN_REFERENCE, &[padded(puk), padded(pin)].concat(), None)
}

/// GENERAL AUTHENTICATE: signs a SHA-256 digest with a P-256 key.
pub fn sign(key: KeyReference, digest: &[u8; 32]) -> Vec<u8> {
    let template = [tlv::object(0x82, &[]), tlv::object(0x81, digest)].concat();
    command(0x87, P_256, key.0, &tlv::object(0x7C, &template), Some(256))
}

/// CHANGE REFERENCE DATA: a new PIN by the old one.
pub fn change(old: &str, new: &str) -> Vec<u8> {
    command(0x24, 0x00, PIN_REFERENCE, &[padded(old), padded(new)].concat(), None)
}

/// GENERAL AUTHENTICATE: asks for a challenge to the management key, AES-256.
pub fn management_challenge() -> Vec<u8> {
    command(0x87, AES_256, KeyReference::MANAGEMENT.0, &tlv::object(0x7C, &tlv::object(0x81, &[])), Some(256))
}

/// GENERAL AUTHENTICATE: answers the challenge by the management key.
pub fn management_response(challenge: &[u8], key: &[u8; 32]) -> Vec<u8> {
    let challenge = tlv::only(challenge, 0x7C).and_then(|template| tlv::only(template, 0x81));
    let mut block = Array::<u8, _>::try_from(challenge.expect("a challenge")).expect("a block");
    Aes256::new(&(*key).into()).encrypt_block(&mut block);
    command(0x87, AES_256, KeyReference::MANAGEMENT.0, &tlv::object(0x7C, &tlv::object(0x82, &block)), None)
}

/// PUT DATA; empty content removes the object.
pub fn put(object: u32, content: &[u8]) -> Vec<u8> {
    let data = [name(object), tlv::object(0x53, content)].concat();
    CommandApdu { cla: 0, ins: 0xDB, p1: 0x3F, p2: 0xFF, data: &data, le: None, extended: true }.to_bytes()
}

/// GET DATA.
pub fn read(object: u32) -> Vec<u8> {
    let data = name(object);
    CommandApdu { cla: 0, ins: 0xCB, p1: 0x3F, p2: 0xFF, data: &data, le: Some(65_536), extended: true }
        .to_bytes()
}

/// GENERATE ASYMMETRIC KEY PAIR: a P-256 key that needs no PIN.
pub fn generate(key: KeyReference) -> Vec<u8> {
    let template = [tlv::object(0x80, &[P_256]), tlv::object(0xAA, &[1])].concat();
    command(0x47, 0x00, key.0, &tlv::object(0xAC, &template), Some(256))
}

/// Yubico's MOVE KEY to nowhere: erases a key.
pub fn erase(key: KeyReference) -> Vec<u8> {
    command(0xF6, 0xFF, key.0, &[], None)
}

/// Yubico's GET METADATA of a key, or of PIN (80) or PUK (81).
pub fn metadata(reference: u8) -> Vec<u8> {
    command(0xF7, 0x00, reference, &[], Some(256))
}

/// Yubico's RESET, which a card with PIN and PUK blocked does.
pub fn reset() -> Vec<u8> {
    command(0xFB, 0x00, 0x00, &[], None)
}

/// A short command.
pub fn command(ins: u8, p1: u8, p2: u8, data: &[u8], le: Option<u32>) -> Vec<u8> {
    CommandApdu { cla: 0, ins, p1, p2, data, le, extended: false }.to_bytes()
}

fn name(object: u32) -> Vec<u8> {
    tlv::object(0x5C, &object.to_be_bytes()[1..])
}

fn padded(digits: &str) -> [u8; 8] {
    let mut padded = [0xFF; 8];
    padded[..digits.len()].copy_from_slice(digits.as_bytes());
    padded
}
