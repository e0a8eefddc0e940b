//! P-256 and P-384 by RustCrypto (FIPS 186-5, SP 800-56A).
//!
//! The two crates have the same interface over different types, hence a macro: the bounds of a generic key would be
//! longer than the key.

/// A module with the private key of one curve: its crate, and the length of a scalar in bytes.
macro_rules! curve {
    ($curve:ident, $length:literal) => {
        pub(super) mod $curve {
            use alloc::vec::Vec;

            use ::$curve::{
                NonZeroScalar, PublicKey, SecretKey,
                ecdh::diffie_hellman,
                ecdsa::{Signature, SigningKey, signature::hazmat::RandomizedPrehashSigner},
                elliptic_curve::Generate,
            };
            use rand_core::CryptoRng;
            use zeroize::Zeroizing;

            use crate::crypto::CryptoError;

            /// A private scalar with its public point.
            pub(in crate::crypto) struct Key(SigningKey);

            impl Key {
                pub(in crate::crypto) fn generate(rng: &mut impl CryptoRng) -> Self {
                    Self(SigningKey::generate_from_rng(rng))
                }

                pub(in crate::crypto) fn from_bytes(bytes: &[u8]) -> Result<Self, CryptoError> {
                    secret(bytes).map(|key| Self(key.into()))
                }

                pub(in crate::crypto) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
                    let scalar = Zeroizing::new(self.0.to_bytes());
                    Zeroizing::new(scalar.to_vec())
                }

                /// The public point, uncompressed.
                pub(in crate::crypto) fn public_point(&self) -> Vec<u8> {
                    self.0.verifying_key().to_sec1_point(false).as_bytes().to_vec()
                }

                /// `r ‖ s` over a digest; the nonce is that of RFC 6979 with as many fresh random bytes mixed in.
                pub(in crate::crypto) fn sign(
                    &self,
                    digest: &[u8],
                    rng: &mut impl CryptoRng,
                ) -> Result<Vec<u8>, CryptoError> {
                    let padded = super::left_padded::<$length>(digest);
                    let signature: Signature =
                        self.0.sign_prehash_with_rng(rng, &padded).map_err(|_| CryptoError::WrongLength)?;
                    Ok(signature.to_bytes().to_vec())
                }

                /// The x-coordinate of this key times the peer's uncompressed point.
                pub(in crate::crypto) fn agree(
                    &self,
                    peer: &[u8],
                ) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
                    agree(self.0.as_nonzero_scalar(), peer)
                }
            }

            /// Reads a scalar.
            pub(in crate::crypto) fn secret(bytes: &[u8]) -> Result<SecretKey, CryptoError> {
                // `from_slice` pads short input, which a record of ours never is.
                match bytes.len() {
                    $length => SecretKey::from_slice(bytes).map_err(|_| CryptoError::BadKey),
                    _ => Err(CryptoError::BadKey),
                }
            }

            /// The x-coordinate of a scalar times the peer's uncompressed point.
            pub(in crate::crypto) fn agree(
                scalar: &NonZeroScalar,
                peer: &[u8],
            ) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
                if peer.len() != 1 + 2 * $length || !peer.starts_with(&[4]) {
                    return Err(CryptoError::WrongLength);
                }
                let point = PublicKey::from_sec1_bytes(peer).map_err(|_| CryptoError::BadPoint)?;
                let shared = diffie_hellman(scalar, point.as_affine());
                Ok(Zeroizing::new(shared.raw_secret_bytes().to_vec()))
            }
        }
    };
}

curve!(p256, 32);
curve!(p384, 48);

use alloc::{vec, vec::Vec};

/// Leading zeros keep a short digest's number the same; RustCrypto refuses one below half the order's length.
fn left_padded<const ORDER: usize>(digest: &[u8]) -> Vec<u8> {
    let mut padded = vec![0; ORDER.saturating_sub(digest.len())];
    padded.extend_from_slice(digest);
    padded
}
