//! Algorithm identifiers (SP 800-78-5, table 6-2).

use cardhost_wire::key::Algorithm;

use crate::crypto::CipherAlgorithm;

/// The asymmetric algorithm of an identifier.
pub(super) const fn asymmetric(identifier: u8) -> Option<Algorithm> {
    match identifier {
        0x05 => Some(Algorithm::Rsa3072),
        0x07 => Some(Algorithm::Rsa2048),
        0x11 => Some(Algorithm::P256),
        0x14 => Some(Algorithm::P384),
        _ => None,
    }
}

/// The identifier of an asymmetric algorithm.
pub(super) const fn asymmetric_identifier(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::Rsa3072 => 0x05,
        Algorithm::Rsa2048 => 0x07,
        Algorithm::P256 => 0x11,
        Algorithm::P384 => 0x14,
    }
}

/// The block cipher of an identifier; 00 is an older name of Triple DES.
pub(super) const fn cipher(identifier: u8) -> Option<CipherAlgorithm> {
    match identifier {
        0x00 | 0x03 => Some(CipherAlgorithm::TripleDes),
        0x08 => Some(CipherAlgorithm::Aes128),
        0x0A => Some(CipherAlgorithm::Aes192),
        0x0C => Some(CipherAlgorithm::Aes256),
        _ => None,
    }
}

/// The identifier of a block cipher.
pub(super) const fn cipher_identifier(algorithm: CipherAlgorithm) -> u8 {
    match algorithm {
        CipherAlgorithm::TripleDes => 0x03,
        CipherAlgorithm::Aes128 => 0x08,
        CipherAlgorithm::Aes192 => 0x0A,
        CipherAlgorithm::Aes256 => 0x0C,
    }
}
