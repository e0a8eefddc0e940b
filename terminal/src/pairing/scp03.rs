//! Authentication by a pairing's key set: SCP03 (GlobalPlatform Amendment D 1.2), "i" = `60`, from off the card.
//!
//! ```text
//! terminal ──INITIALIZE UPDATE: host challenge──▶ card
//!          ◀──card challenge, card cryptogram────         the card has the key
//!          ──EXTERNAL AUTHENTICATE: host cryptogram──▶    the terminal has it
//! ```

use cardhost_wire::apdu::CommandApdu;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::{
    crypto::{BLOCK, Key, random},
    session::{Session, SessionKeys, command_mac},
};

/// Bytes of challenges and cryptograms.
const CHALLENGE: usize = 8;
/// Bytes of key diversification data.
pub const DIVERSIFICATION: usize = 10;
/// Protocol and "i" in the key information.
const PROTOCOL: [u8; 2] = [0x03, 0x60];
/// Everything with MAC and encryption (table 7-6).
const FULL: u8 = 0x33;

/// Derivation constants (table 4-1).
mod constant {
    pub(super) const CARD_CRYPTOGRAM: u8 = 0x00;
    pub(super) const HOST_CRYPTOGRAM: u8 = 0x01;
    pub(super) const S_ENC: u8 = 0x04;
    pub(super) const S_MAC: u8 = 0x06;
    pub(super) const S_RMAC: u8 = 0x07;
}

/// A pairing's key set. The key that would encrypt further keys is not kept: a pairing is replaced, not changed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySet {
    /// Key version number.
    pub kvn: u8,
    /// Key-ENC.
    pub enc: Key,
    /// Key-MAC.
    pub mac: Key,
}

/// The card's answer does not prove the pairing's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotProved;

/// INITIALIZE UPDATE is on its way.
pub struct Initiation<'a> {
    set: &'a KeySet,
    challenge: [u8; CHALLENGE],
}

impl<'a> Initiation<'a> {
    /// A fresh challenge for this key set.
    pub fn new(set: &'a KeySet) -> Result<Self, getrandom::Error> {
        Ok(Self { set, challenge: random()? })
    }

    /// INITIALIZE UPDATE (7.1.1).
    pub fn command(&self) -> Vec<u8> {
        let Self { set, challenge } = self;
        CommandApdu {
            cla: 0x80,
            ins: 0x50,
            p1: set.kvn,
            p2: 0,
            data: challenge,
            le: Some(256),
            extended: false,
        }
        .to_bytes()
    }

    /// Verifies the card's cryptogram. Gives EXTERNAL AUTHENTICATE (7.1.2) and the session that it opens.
    ///
    /// # Errors
    /// [`NotProved`]
    pub fn finish(self, answer: &[u8]) -> Result<(Vec<u8>, Session), NotProved> {
        let answer = answer.get(DIVERSIFICATION..).ok_or(NotProved)?;
        let ([kvn, information @ ..], challenges) = answer.split_first_chunk::<3>().ok_or(NotProved)?;
        if (*kvn, *information) != (self.set.kvn, PROTOCOL) || challenges.len() != 2 * CHALLENGE {
            return Err(NotProved);
        }
        let (card_challenge, cryptogram) = challenges.split_at(CHALLENGE);
        let context = [&self.challenge, card_challenge].concat();
        let keys = session_keys(self.set, &context);
        let expected = keys.mac.derive::<CHALLENGE>(constant::CARD_CRYPTOGRAM, &context);
        if !bool::from(expected.as_slice().ct_eq(cryptogram)) {
            return Err(NotProved);
        }
        Ok(external_authenticate(keys, &context))
    }
}

fn session_keys(set: &KeySet, context: &[u8]) -> SessionKeys {
    SessionKeys {
        enc: set.enc.derive_key(constant::S_ENC, context),
        mac: set.mac.derive_key(constant::S_MAC, context),
        rmac: set.mac.derive_key(constant::S_RMAC, context),
    }
}

fn external_authenticate(keys: SessionKeys, context: &[u8]) -> (Vec<u8>, Session) {
    let cryptogram = keys.mac.derive::<CHALLENGE>(constant::HOST_CRYPTOGRAM, context);
    let header @ [cla, ins, p1, p2] = [0x84, 0x82, FULL, 0];
    let (mac, chaining) = command_mac(&keys.mac, &[0; BLOCK], header, cryptogram.as_slice(), false);
    let data = [&cryptogram[..], &mac].concat();
    let command = CommandApdu { cla, ins, p1, p2, data: &data, le: None, extended: false }.to_bytes();
    (command, Session::new(keys, chaining))
}
