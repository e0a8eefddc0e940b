//! Key agreement by a stored key (SP 800-56A, 5.7.1.2) on P-256.

use alloc::vec::Vec;

use p256::NonZeroScalar;
use zeroize::Zeroizing;

use super::{CryptoError, ec};

/// A stored private key on P-256 that only agrees, erased on drop. A [`super::PrivateKey`] would compute its public
/// point when it is read, which takes a quarter of an agreement.
pub struct AgreementKey(Zeroizing<NonZeroScalar>);

impl AgreementKey {
    /// Reads what [`super::PrivateKey::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CryptoError> {
        ec::p256::secret(bytes).map(|key| Self(Zeroizing::new(key.to_nonzero_scalar())))
    }

    /// The x-coordinate shared with the peer's uncompressed point.
    ///
    /// # Errors
    /// [`CryptoError::WrongLength`], [`CryptoError::BadPoint`].
    pub fn agree(&self, peer: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        ec::p256::agree(&self.0, peer)
    }
}
