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

#[cfg(test)]
pub mod tests {
    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        hex::decode(text).unwrap()
    }

    fn key(text: &str) -> Key {
        Key::new(bytes(text).try_into().unwrap())
    }

    /// A session of sysmocom's sysmoEUICC1 at level 33, as pySim publishes it (tests/unittests/test_globalplatform.py):
    /// host challenge, the card's answer without its sequence counter, EXTERNAL AUTHENTICATE. Its "i" is 70; challenges
    /// that come from a counter are used like random ones.
    const CHALLENGE: &str = "fdf38259a1e0de44";
    const ANSWER: &str = "000000000000000000003003603b1aca81e821f219081cdc01c26b372d";
    const EXTERNAL_AUTHENTICATE: &str = "84823300108c36f96bcc00724a4e13ad591d7da3f0";

    fn set() -> KeySet {
        let enc = key("000102030405060708090a0b0c0d0e0f");
        KeySet { kvn: 0x30, enc, mac: key("101112131415161718191a1b1c1d1e1f") }
    }

    /// The published session, before its first command.
    pub fn published() -> Session {
        let set = set();
        let initiation = Initiation { set: &set, challenge: bytes(CHALLENGE).try_into().unwrap() };
        assert_eq!(initiation.command(), bytes("8050300008fdf38259a1e0de4400"));
        let (command, session) = initiation.finish(&bytes(ANSWER)).unwrap();
        assert_eq!(command, bytes(EXTERNAL_AUTHENTICATE));
        session
    }

    #[test]
    fn authentication_goes_on_as_published() {
        published();
    }

    #[test]
    fn a_card_that_does_not_have_the_key_is_not_believed() {
        let (set, good) = (set(), bytes(ANSWER));
        let finish = |answer: &[u8]| {
            let initiation = Initiation { set: &set, challenge: bytes(CHALLENGE).try_into().unwrap() };
            initiation.finish(answer).is_ok()
        };
        for at in DIVERSIFICATION..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(!finish(&bad), "byte {at}");
        }
        for length in 0..good.len() {
            assert!(!finish(&good[..length]), "cut to {length}");
        }
        assert!(!finish(&[&good[..], &[0]].concat()));
        assert!(finish(&good));
    }
}
