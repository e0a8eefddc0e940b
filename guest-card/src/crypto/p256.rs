//! P-256 by RustCrypto (FIPS 186-5, SP 800-56A).

use p256::{
    PublicKey, SecretKey,
    ecdh::diffie_hellman,
    ecdsa::{Signature, SigningKey, signature::hazmat::RandomizedPrehashSigner},
    elliptic_curve::Generate,
};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::CryptoError;

/// A private scalar with its public point.
pub(super) struct Key(SigningKey);

impl Key {
    pub(super) fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(SigningKey::generate_from_rng(rng))
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, CryptoError> {
        // `SecretKey::from_slice` pads short input, which a record of ours never is.
        let length = if bytes.len() == 32 { Ok(()) } else { Err(CryptoError::BadKey) };
        length
            .and_then(|()| SecretKey::from_slice(bytes).map_err(|_| CryptoError::BadKey))
            .map(|key| Self(key.into()))
    }

    pub(super) fn to_bytes(&self) -> Zeroizing<alloc::vec::Vec<u8>> {
        let scalar = Zeroizing::new(self.0.to_bytes());
        Zeroizing::new(scalar.to_vec())
    }

    /// The public point, uncompressed.
    pub(super) fn public_point(&self) -> alloc::boxed::Box<[u8]> {
        self.0.verifying_key().to_sec1_point(false).to_bytes()
    }

    /// `r ‖ s` over a digest; the nonce is that of RFC 6979 with 32 fresh random bytes mixed in.
    pub(super) fn sign(&self, digest: &[u8], rng: &mut impl CryptoRng) -> Result<[u8; 64], CryptoError> {
        let signature: Signature =
            self.0.sign_prehash_with_rng(rng, digest).map_err(|_| CryptoError::WrongLength)?;
        Ok(signature.to_bytes().into())
    }

    /// The x-coordinate of this key times the peer's uncompressed point.
    pub(super) fn agree(&self, peer: &[u8]) -> Result<Zeroizing<[u8; 32]>, CryptoError> {
        if peer.len() != 65 || peer[0] != 4 {
            return Err(CryptoError::WrongLength);
        }
        let point = PublicKey::from_sec1_bytes(peer).map_err(|_| CryptoError::BadPoint)?;
        let shared = diffie_hellman(self.0.as_nonzero_scalar(), point.as_affine());
        Ok(Zeroizing::new((*shared.raw_secret_bytes()).into()))
    }
}
