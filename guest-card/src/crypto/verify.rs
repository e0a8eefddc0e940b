//! Verification by somebody else's P-256 key (FIPS 186-5).

use alloc::vec::Vec;

use p256::ecdsa::{self, Signature, signature::Verifier};

use super::CryptoError;

/// A public key on P-256 of somebody else's.
#[derive(Clone)]
pub struct VerifyingKey(ecdsa::VerifyingKey);

impl VerifyingKey {
    /// Reads an uncompressed point.
    ///
    /// # Errors
    /// [`CryptoError::BadPoint`].
    pub fn from_point(point: &[u8]) -> Result<Self, CryptoError> {
        match point {
            [0x04, ..] => {
                ecdsa::VerifyingKey::from_sec1_bytes(point).map(Self).map_err(|_| CryptoError::BadPoint)
            }
            _ => Err(CryptoError::BadPoint),
        }
    }

    /// The uncompressed point.
    pub fn to_point(&self) -> Vec<u8> {
        self.0.to_sec1_point(false).as_bytes().to_vec()
    }

    /// True if this is the key's ECDSA signature (DER) over SHA-256 of the message.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let signature = Signature::from_der(signature);
        signature.is_ok_and(|signature| self.0.verify(message, &signature).is_ok())
    }
}
