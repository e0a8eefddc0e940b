//! APDUs of the PIV application (SP 800-73-5, part 2) and of its Yubico dialect.

use cardhost_wire::{apdu::CommandApdu, key::KeyReference, tlv};

/// Reference of the PIN.
pub const PIN_REFERENCE: u8 = 0x80;

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
    command(0x87, 0x11, key.0, &tlv::object(0x7C, &template), Some(256))
}

/// Yubico's RESET, which a card with PIN and PUK blocked does.
pub fn reset() -> Vec<u8> {
    command(0xFB, 0x00, 0x00, &[], None)
}

/// A short command.
pub fn command(ins: u8, p1: u8, p2: u8, data: &[u8], le: Option<u32>) -> Vec<u8> {
    CommandApdu { cla: 0, ins, p1, p2, data, le, extended: false }.to_bytes()
}

fn padded(digits: &str) -> [u8; 8] {
    let mut padded = [0xFF; 8];
    padded[..digits.len()].copy_from_slice(digits.as_bytes());
    padded
}
