//! SCP03 (GlobalPlatform Amendment D 1.2): mutual authentication by a shared AES key set.
//!
//! ```text
//! terminal ──INITIALIZE UPDATE: host challenge──▶ card      session keys from both challenges
//!          ◀──card challenge, card cryptogram────
//!          ──EXTERNAL AUTHENTICATE: host cryptogram, C-MAC──▶   open
//! ```

use alloc::vec::Vec;

use cardhost_wire::{apdu::CommandApdu, status::Status};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    level::Protection,
    messaging::{Channel, Mode, OffCardEntity, SessionKeys, verify},
};
use crate::crypto::{AES_BLOCK, AesKey};

/// The protocol's number in key information and card recognition data.
pub const PROTOCOL: u8 = 0x03;
/// Bytes of key diversification data.
pub const DIVERSIFICATION: usize = 10;

/// Derivation constants (table 4-1).
mod constant {
    pub(super) const CARD_CRYPTOGRAM: u8 = 0x00;
    pub(super) const HOST_CRYPTOGRAM: u8 = 0x01;
    pub(super) const CARD_CHALLENGE: u8 = 0x02;
    pub(super) const S_ENC: u8 = 0x04;
    pub(super) const S_MAC: u8 = 0x06;
    pub(super) const S_RMAC: u8 = 0x07;
}

/// The parameter "i" (table 5-1): all of them can protect responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implementation {
    /// `60`: random card challenge, S8.
    RandomS8,
    /// `70`: pseudo-random card challenge, S8.
    PseudoRandomS8,
    /// `71`: pseudo-random card challenge, S16.
    PseudoRandomS16,
}

impl Implementation {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::RandomS8, Self::PseudoRandomS8, Self::PseudoRandomS16];

    /// Reads "i".
    pub const fn parse(i: u8) -> Option<Self> {
        match i {
            0x60 => Some(Self::RandomS8),
            0x70 => Some(Self::PseudoRandomS8),
            0x71 => Some(Self::PseudoRandomS16),
            _ => None,
        }
    }

    /// The value of "i".
    pub const fn value(self) -> u8 {
        match self {
            Self::RandomS8 => 0x60,
            Self::PseudoRandomS8 => 0x70,
            Self::PseudoRandomS16 => 0x71,
        }
    }

    /// Length of challenges, cryptograms and MACs.
    pub const fn mode(self) -> Mode {
        match self {
            Self::RandomS8 | Self::PseudoRandomS8 => Mode::S8,
            Self::PseudoRandomS16 => Mode::S16,
        }
    }

    /// True if card challenges come from a sequence counter.
    pub const fn is_pseudo_random(self) -> bool {
        !matches!(self, Self::RandomS8)
    }
}

/// A static key set, ready for use.
pub struct StaticKeys {
    /// Key-ENC.
    pub enc: AesKey,
    /// Key-MAC.
    pub mac: AesKey,
    /// Key-DEK.
    pub dek: AesKey,
}

/// A key set with its name and kind.
pub struct KeySet {
    /// Key version number.
    pub kvn: u8,
    /// The parameter "i".
    pub implementation: Implementation,
    /// The keys.
    pub keys: StaticKeys,
}

/// Where the card challenge comes from.
pub enum CardChallenge<'a> {
    /// A sequence counter that this key set never used before, with the AID of the application (6.2.2.1).
    PseudoRandom {
        /// Below 2^24.
        counter: u32,
        /// Of the selected application.
        aid: &'a [u8],
    },
    /// Random bytes, drawn already.
    Random([u8; AES_BLOCK]),
}

/// A host challenge as long as its key set's mode wants it.
#[derive(Clone, Copy)]
pub struct HostChallenge<'a>(&'a [u8]);

impl<'a> HostChallenge<'a> {
    /// Takes a command's data field.
    ///
    /// # Errors
    /// `6700`: of another length.
    pub fn parse(implementation: Implementation, data: &'a [u8]) -> Result<Self, Status> {
        if data.len() == implementation.mode().length() { Ok(Self(data)) } else { Err(Status::WRONG_LENGTH) }
    }
}

/// INITIALIZE UPDATE was answered.
pub struct Initiated {
    keys: SessionKeys,
    mode: Mode,
    kvn: u8,
    host_cryptogram: Zeroizing<Vec<u8>>,
}

/// Draws a random card challenge.
pub fn random_challenge<'a>(rng: &mut impl CryptoRng) -> CardChallenge<'a> {
    let mut challenge = [0; AES_BLOCK];
    rng.fill_bytes(&mut challenge);
    CardChallenge::Random(challenge)
}

/// INITIALIZE UPDATE with a key set (7.1.1). Answers the response data too.
pub fn initialize_update(
    set: KeySet,
    diversification: &[u8; DIVERSIFICATION],
    HostChallenge(host_challenge): HostChallenge<'_>,
    card_challenge: &CardChallenge<'_>,
) -> (Initiated, Vec<u8>) {
    let mode = set.implementation.mode();
    let challenge = card_challenge.bytes(&set.keys.enc, mode);
    let context = [host_challenge, &challenge].concat();
    let (kvn, i) = (set.kvn, set.implementation.value());
    let keys = session_keys(set.keys, &context);
    let card_cryptogram = cryptogram(&keys.mac, constant::CARD_CRYPTOGRAM, &context, mode);
    let host_cryptogram = cryptogram(&keys.mac, constant::HOST_CRYPTOGRAM, &context, mode);
    let mut response = [&diversification[..], &[kvn, PROTOCOL, i], &challenge, &card_cryptogram].concat();
    if let CardChallenge::PseudoRandom { counter, .. } = card_challenge {
        response.extend_from_slice(&counter.to_be_bytes()[1..]);
    }
    (Initiated { keys, mode, kvn, host_cryptogram }, response)
}

impl CardChallenge<'_> {
    fn bytes(&self, key: &AesKey, mode: Mode) -> Vec<u8> {
        let mut challenge = [0; AES_BLOCK];
        match self {
            Self::Random(random) => challenge = *random,
            Self::PseudoRandom { counter, aid } => {
                let context = [&counter.to_be_bytes()[1..], aid].concat();
                key.derive(constant::CARD_CHALLENGE, &context, &mut challenge[..mode.length()]);
            }
        }
        challenge[..mode.length()].to_vec()
    }
}

/// The session keys (6.2.1); the DEK is the static one.
fn session_keys(keys: StaticKeys, context: &[u8]) -> SessionKeys {
    SessionKeys {
        enc: derived(&keys.enc, constant::S_ENC, context),
        mac: derived(&keys.mac, constant::S_MAC, context),
        rmac: derived(&keys.mac, constant::S_RMAC, context),
        dek: keys.dek,
    }
}

/// A key as long as the one that it is derived from.
fn derived(key: &AesKey, constant: u8, context: &[u8]) -> AesKey {
    let mut bytes = Zeroizing::new(key.as_bytes().to_vec());
    key.derive(constant, context, &mut bytes);
    AesKey::new(&bytes).expect("as long as another key")
}

fn cryptogram(key: &AesKey, constant: u8, context: &[u8], mode: Mode) -> Zeroizing<Vec<u8>> {
    let mut cryptogram = Zeroizing::new(alloc::vec![0; mode.length()]);
    key.derive(constant, context, &mut cryptogram);
    cryptogram
}

impl Initiated {
    /// EXTERNAL AUTHENTICATE (7.1.2), its class byte without channel.
    ///
    /// # Errors
    /// `6A86`: no such security level; `6300`: cryptogram or MAC is wrong. In both cases the attempt is over.
    pub fn external_authenticate(self, command: &CommandApdu<'_>) -> Result<Channel, Status> {
        let protection =
            Protection::parse(command.p1).filter(|_| command.p2 == 0).ok_or(Status::INCORRECT_P1_P2)?;
        let Self { keys, mode, kvn, host_cryptogram } = self;
        let (presented, chaining) =
            verify(&keys.mac, mode, &[0; AES_BLOCK], command).map_err(|_| Status::VERIFICATION_FAILED)?;
        if !bool::from(host_cryptogram.ct_eq(presented)) {
            return Err(Status::VERIFICATION_FAILED);
        }
        Ok(Channel::new(keys, mode, protection, OffCardEntity::Authenticated(kvn), chaining))
    }
}
