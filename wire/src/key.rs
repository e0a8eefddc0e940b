//! Names of keys and algorithms that the daemon and the guest share.

use alloc::vec::Vec;
use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A PIV key reference (SP 800-73-5, part 1, table 4b), for example `9A`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyReference(pub u8);

impl KeyReference {
    /// PIV authentication.
    pub const AUTHENTICATION: Self = Self(0x9A);
    /// Card management.
    pub const MANAGEMENT: Self = Self(0x9B);
    /// Digital signature.
    pub const SIGNATURE: Self = Self(0x9C);
    /// Key management.
    pub const KEY_MANAGEMENT: Self = Self(0x9D);
    /// Card authentication, usable without PIN.
    pub const CARD_AUTHENTICATION: Self = Self(0x9E);

    /// True for the slots that hold a user's asymmetric key: 9A, 9C, 9D, 9E and retired 82 to 95.
    pub const fn is_user_key(self) -> bool {
        matches!(self.0, 0x9A | 0x9C..=0x9E | 0x82..=0x95)
    }
}

impl fmt::Display for KeyReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02X}", self.0)
    }
}

/// The text names no such thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownName;

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown name")
    }
}

impl core::error::Error for UnknownName {}

impl FromStr for KeyReference {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let reference = u8::from_str_radix(text, 16).map(Self).map_err(|_| UnknownName)?;
        if text.len() == 2 && reference.is_user_key() { Ok(reference) } else { Err(UnknownName) }
    }
}

/// An asymmetric algorithm that the card offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSA with a 2,048-bit modulus.
    #[serde(rename = "RSA-2048")]
    Rsa2048,
    /// RSA with a 3,072-bit modulus.
    #[serde(rename = "RSA-3072")]
    Rsa3072,
    /// ECDSA and ECDH on P-256.
    #[serde(rename = "P-256")]
    P256,
    /// ECDSA and ECDH on P-384.
    #[serde(rename = "P-384")]
    P384,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 4] = [Self::Rsa2048, Self::Rsa3072, Self::P256, Self::P384];

    /// The algorithm's name on every surface.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rsa2048 => "RSA-2048",
            Self::Rsa3072 => "RSA-3072",
            Self::P256 => "P-256",
            Self::P384 => "P-384",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == text).ok_or(UnknownName)
    }
}

/// Secret bytes: erased on drop, never printed.
#[derive(Clone, Default, Zeroize, ZeroizeOnDrop, Serialize, Deserialize)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
