//! The pairing of a card with terminals: what terminal, guest and host must agree on. `docs/pairing.md` has the whole
//! protocol.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

/// AID of the pairing security domain: proprietary and not registered (ISO/IEC 7816-5, category F), `cardhost` and 1.
pub const PAIRING_DOMAIN: [u8; 10] = [0xF0, 0x63, 0x61, 0x72, 0x64, 0x68, 0x6F, 0x73, 0x74, 0x01];
/// Version number of the terminals' authority's key and of the card's own key in the pairing security domain.
pub const CERTIFIED_KVN: u8 = 0x01;
/// Key identifier of the terminals' authority's key, PK.CA-KLOC.ECDSA (GlobalPlatform Amendment F 1.3, table 4-4).
pub const AUTHORITY_KID: u8 = 0x10;
/// Key identifier of the card's own key, SK.SD.ECKA of SCP11a (ibid.).
pub const CARD_KID: u8 = 0x11;
/// Version number of the first pairing's key set.
pub const FIRST_KVN: u8 = 0x60;
/// Most pairings of a card; their key sets have the version numbers from [`FIRST_KVN`] on.
pub const MAX_PAIRINGS: usize = 16;
/// ENVELOPE, whose data field is a whole command (ISO/IEC 7816-4, 11.7.2).
pub const ENVELOPE: u8 = 0xC2;
/// Longest name of a paired terminal, bytes.
pub const MAX_TERMINAL_NAME: usize = 64;

/// What an unpaired terminal may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PairingPolicy {
    /// Everything, in plain.
    #[default]
    Open,
    /// Nothing but to pair itself.
    PairedOnly,
}

/// One pairing, as the guest tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pairing {
    /// Version number of its key set.
    pub kvn: u8,
    /// The terminal's name: common name of the certificate that the pairing was made with.
    pub terminal: String,
    /// That certificate's serial number, big-endian without leading zeros.
    pub serial: Vec<u8>,
}

/// What a card knows of pairing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pairings {
    /// True once the authority has certified the card's key: before, no terminal can pair.
    pub certified: bool,
    /// The card's policy.
    pub policy: PairingPolicy,
    /// Number of the newest revocation list that the card accepted.
    pub revocations: Option<u64>,
    /// In the order of their key sets.
    pub pairings: Vec<Pairing>,
}

/// The host's commands about pairing. The guest checks each itself; none tells or sets a pairing's keys.
#[derive(Debug, Serialize, Deserialize)]
pub enum PairingCommand {
    /// Signs a certification request (PKCS#10) for the card's pairing key, which is made at the first time. The
    /// argument is the request's subject, a DER `Name`. Answers [`crate::control::Answer::CertificationRequest`].
    Request(Vec<u8>),
    /// Stores the certificate of the card's pairing key, in place of an earlier one, and the key of the terminals'
    /// authority, which cannot be changed later. All are DER, the authorities' keys P-256 and not the same: else a card
    /// could pair as a terminal. Answers [`crate::control::Answer::Done`].
    Certify {
        /// Of the card's pairing key, signed by the cards' authority.
        certificate: Vec<u8>,
        /// The certificate of the cards' authority, CA-KLCC (GlobalPlatform Amendment F 1.3).
        card_authority: Vec<u8>,
        /// The certificate of the terminals' authority, CA-KLOC (ibid.).
        terminal_authority: Vec<u8>,
    },
    /// A certificate revocation list (RFC 5280, 5; DER) signed by the terminals' authority: the pairings of the terminals
    /// in it end, and they cannot pair again. A number lower than the last is refused; the same number changes nothing.
    /// Answers [`crate::control::Answer::Done`].
    Revoke(Vec<u8>),
    /// Answers [`crate::control::Answer::Pairings`].
    Read,
    /// Ends the pairing with this key version number. Answers [`crate::control::Answer::Done`], also if there is none.
    Delete(u8),
    /// Sets the card's policy. Answers [`crate::control::Answer::Done`].
    SetPolicy(PairingPolicy),
}
