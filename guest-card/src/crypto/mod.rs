//! The card's cryptography behind one small interface: [`PrivateKey`], [`PublicKey`], [`AgreementKey`] and
//! [`BlockCipher`].
//!
//! PIV needs operations that high-level libraries hide: ECDSA over a *ready* digest, the *raw* RSA private
//! operation (the client pads), ECDH with a static key. Everything here is constant-time in the secret as far as
//! its crate is, and takes the generator as a parameter, so that nothing works before the host has seeded it.
//!
//! # Which crates, and why
//!
//! Median microseconds on one core (native; the guest is within 8 %):
//!
//! | operation | crrl 0.9 | p256 0.14, no_std | p256 0.14, base-point table | p384 0.14, no_std | with table |
//! |---|---|---|---|---|---|
//! | sign a ready digest, hedged | 25 | 143 | 49 | 540 | 145 |
//! | parse a private key | 0.1 | 137 | 45 | 490 | 120 |
//! | ECDH | – | 137 | 137 | 490 | 480 |
//!
//! crrl would be first, but it depends on sha2 with its `std` feature, and the card is built without the standard
//! library. P-256 is therefore p256, and the bare-metal build turns its base-point table on: computed at the
//! first use, 30 KiB of the card's memory. A stored key that only agrees is read as [`AgreementKey`], without that
//! computation.
//! RSA is RustCrypto's rsa, with blinding and the check that catches a fault in the CRT (RSA-2048: 1,320, of which
//! the check 50 and blinding 280; RSA-3072: 4,380). Parsing an RSA key takes 320 and 680: callers keep
//! [`PrivateKey`]s loaded. RSA generation takes 55 ms (2,048 bits) or 210 ms (3,072), up to three times that with
//! bad luck.

mod aes;
mod agreement;
mod cipher;
mod ec;
mod private;
mod public;
mod rsa;
mod verify;

pub use aes::{AES_BLOCK, AesKey, Block};
pub use agreement::AgreementKey;
pub use cipher::{BlockCipher, CipherAlgorithm};
pub use private::PrivateKey;
pub use public::PublicKey;
pub use verify::VerifyingKey;

/// Why an operation was refused. All are the caller's (in the end: the terminal's) fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CryptoError {
    /// A length does not fit the key or algorithm.
    WrongLength,
    /// Not a point on the curve, or the point at infinity.
    BadPoint,
    /// The number is not below the RSA modulus.
    OutOfRange,
    /// The key's algorithm has no such operation.
    WrongAlgorithm,
    /// The stored key is not a key of its algorithm.
    BadKey,
    /// A check of the result failed: the computation was disturbed. Nothing of it is given out.
    Fault,
}

impl core::fmt::Display for CryptoError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::WrongLength => "length does not fit the key",
            Self::BadPoint => "not a point on the curve",
            Self::OutOfRange => "number not below the modulus",
            Self::WrongAlgorithm => "operation not of this algorithm",
            Self::BadKey => "malformed stored key",
            Self::Fault => "computation disturbed",
        })
    }
}

impl core::error::Error for CryptoError {}

#[cfg(test)]
mod tests;
