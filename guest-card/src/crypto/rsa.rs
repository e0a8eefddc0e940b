//! RSA by RustCrypto (RFC 8017), two primes, public exponent 65,537.

use alloc::vec::Vec;

use rand_core::CryptoRng;
use rsa::{
    BoxedUint, Pkcs1v15Sign, RsaPrivateKey,
    hazmat::rsa_decrypt_and_check,
    traits::{PrivateKeyParts, PublicKeyParts},
};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::CryptoError;

/// The public exponent of every key that a card makes.
pub(super) const PUBLIC_EXPONENT: u32 = 65_537;

/// A key with its CRT values.
pub(super) struct Key(RsaPrivateKey);

impl Key {
    /// Makes a key; `bits` is 2,048 or 3,072.
    pub(super) fn generate(bits: usize, rng: &mut impl CryptoRng) -> Result<Self, CryptoError> {
        RsaPrivateKey::new(rng, bits).map(Self).map_err(|_| CryptoError::Fault)
    }

    /// Reads `p ‖ q`, both of half the modulus' length.
    pub(super) fn from_bytes(bits: usize, bytes: &[u8]) -> Result<Self, CryptoError> {
        let (p, q) = bytes.split_at_checked(bits / 16).ok_or(CryptoError::BadKey)?;
        let [p, q] = [p, q].map(|prime| BoxedUint::from_be_slice(prime, bits as u32 / 2));
        let (p, q) = (p.map_err(|_| CryptoError::BadKey)?, q.map_err(|_| CryptoError::BadKey)?);
        let key = RsaPrivateKey::from_p_q(p, q, BoxedUint::from(PUBLIC_EXPONENT));
        key.map(Self).map_err(|_| CryptoError::BadKey)
    }

    /// `p ‖ q`.
    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.0.size()));
        for prime in self.0.primes() {
            bytes.extend_from_slice(&Zeroizing::new(prime.to_be_bytes().into_vec()));
        }
        bytes
    }

    /// The modulus, big-endian, as long as the key.
    pub(super) fn modulus(&self) -> Vec<u8> {
        self.0.n().to_be_bytes().into_vec()
    }

    /// The private operation on a number as long as the modulus: blinded, and checked by the public one.
    pub(super) fn raw(&self, message: &[u8], rng: &mut impl CryptoRng) -> Result<Vec<u8>, CryptoError> {
        if message.len() != self.0.size() {
            return Err(CryptoError::WrongLength);
        }
        let mut number = BoxedUint::from_be_slice(message, self.0.n_bits_precision())
            .map_err(|_| CryptoError::WrongLength)?;
        if number >= *self.0.n().as_ref() {
            return Err(CryptoError::OutOfRange);
        }
        let result = rsa_decrypt_and_check(&self.0, Some(rng), &number);
        number.zeroize();
        let result = Zeroizing::new(result.map_err(|_| CryptoError::Fault)?);
        Ok(result.to_be_bytes().into_vec())
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256 over a message.
    pub(super) fn sign_message(
        &self,
        message: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, CryptoError> {
        let scheme = Pkcs1v15Sign::new::<Sha256>();
        self.0.sign_with_rng(rng, scheme, &Sha256::digest(message)).map_err(|_| CryptoError::Fault)
    }
}
