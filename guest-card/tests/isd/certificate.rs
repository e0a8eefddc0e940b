//! Certificates that the tests make (RFC 5280), right and wrong ones.
#![allow(dead_code, reason = "each of the test programs that share it uses its own part")]

use cardhost_guest::crypto::PrivateKey;
use cardhost_wire::{key::Algorithm, tlv::object};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::harness::hex;

/// The algorithm of all signatures here.
pub const ECDSA_WITH_SHA_256: &str = "300A06082A8648CE3D040302";
const EC_ON_P256: &str = "301306072A8648CE3D020106082A8648CE3D030107";
const DATES: &str = "301E170D3030303130313030303030305A170D3439303130313030303030305A";
const KEY_AGREEMENT: &str = "300E0603551D0F0101FF040403020308";
const SIGN_CERTIFICATES: &str = "300E0603551D0F0101FF040403020204";
const AUTHORITY: &str = "300F0603551D130101FF040530030101FF";
const LAST_AUTHORITY: &str = "30120603551D130101FF040830060101FF020100";
const UNKNOWN_CRITICAL: &str = "300A060355043C0101FF0400";

/// A key on P-256 that is the same each time.
pub fn key(seed: u8) -> PrivateKey {
    PrivateKey::generate(Algorithm::P256, &mut ChaCha20Rng::from_seed([seed; 32])).unwrap()
}

/// What a certificate is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Key agreement.
    Agreement,
    /// An authority.
    Authority,
    /// An authority below which there is none.
    LastAuthority,
    /// Key agreement, with an extension that nobody knows.
    Unknown,
    /// No extension says.
    Unsaid,
}

impl Use {
    fn extensions(self) -> Vec<u8> {
        let extensions: &[&str] = match self {
            Self::Agreement => &[KEY_AGREEMENT],
            Self::Authority => &[AUTHORITY, SIGN_CERTIFICATES],
            Self::LastAuthority => &[LAST_AUTHORITY, SIGN_CERTIFICATES],
            Self::Unknown => &[KEY_AGREEMENT, UNKNOWN_CRITICAL],
            Self::Unsaid => return Vec::new(),
        };
        let extensions = extensions.iter().flat_map(|extension| hex(extension)).collect::<Vec<u8>>();
        object(0xA3, &object(0x30, &extensions))
    }
}

/// A name (DER) of one common name.
pub fn name(common: &str) -> Vec<u8> {
    let attribute = [hex("0603550403"), object(0x0C, common.as_bytes())].concat();
    object(0x30, &object(0x31, &object(0x30, &attribute)))
}

/// A certificate (DER) over a key, by another; nobody has a name.
pub fn certificate(serial: u8, for_key: &PrivateKey, used: Use, by: &PrivateKey) -> Vec<u8> {
    let nobody = object(0x30, &[]);
    named(&[serial], [&nobody, &nobody], for_key, used, by)
}

/// A certificate (DER) with the names of issuer and subject.
pub fn named(
    serial: &[u8],
    [issuer, subject]: [&[u8]; 2],
    for_key: &PrivateKey,
    used: Use,
    by: &PrivateKey,
) -> Vec<u8> {
    let point = [&[0][..], for_key.public_key().as_bytes()].concat();
    let public = object(0x30, &[hex(EC_ON_P256), object(0x03, &point)].concat());
    let content = [
        hex("A003020102"),
        object(0x02, serial),
        hex(ECDSA_WITH_SHA_256),
        issuer.to_vec(),
        hex(DATES),
        subject.to_vec(),
        public,
        used.extensions(),
    ];
    signed(&content.concat(), by)
}

/// The content of a certificate or list, signed.
pub fn signed(content: &[u8], by: &PrivateKey) -> Vec<u8> {
    let signed = object(0x30, content);
    let signature = by.sign_message(&signed, &mut ChaCha20Rng::from_seed([1; 32])).unwrap();
    let signature = object(0x03, &[&[0][..], &signature].concat());
    object(0x30, &[signed, hex(ECDSA_WITH_SHA_256), signature].concat())
}
