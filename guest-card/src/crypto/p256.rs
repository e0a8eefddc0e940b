//! P-256 by crrl (FIPS 186-5, SP 800-56A).
//!
//! crrl's types are plain copies, so the key rests as erased-on-drop bytes and is parsed for each use (0.1 µs).

use crrl::p256 as curve;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::CryptoError;

/// A private scalar, big-endian, in [1, n-1].
pub(super) struct Key(Zeroizing<[u8; 32]>);

impl Key {
    /// Draws a scalar by rejection (FIPS 186-5, A.2.2).
    pub(super) fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut scalar = Zeroizing::new([0; 32]);
        loop {
            rng.fill_bytes(&mut scalar[..]);
            if curve::PrivateKey::decode(&scalar[..]).is_some() {
                return Self(scalar);
            }
        }
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, CryptoError> {
        curve::PrivateKey::decode(bytes).ok_or(CryptoError::BadKey)?;
        bytes.try_into().map(|scalar| Self(Zeroizing::new(scalar))).map_err(|_| CryptoError::BadKey)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0[..]
    }

    /// The public point, uncompressed.
    pub(super) fn public_point(&self) -> [u8; 65] {
        self.signer().to_public_key().encode_uncompressed()
    }

    /// `r ‖ s` over a digest; the nonce is that of RFC 6979 with 32 fresh random bytes mixed in.
    pub(super) fn sign(&self, digest: &[u8], rng: &mut impl CryptoRng) -> [u8; 64] {
        let mut added = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut added[..]);
        self.signer().sign_hash(digest, &added[..])
    }

    /// The x-coordinate of this key times the peer's uncompressed point.
    pub(super) fn agree(&self, peer: &[u8]) -> Result<Zeroizing<[u8; 32]>, CryptoError> {
        let point = parse_point(peer)?;
        let shared = Zeroizing::new((point * self.scalar()).encode_uncompressed());
        let mut x = Zeroizing::new([0; 32]);
        x.copy_from_slice(&shared[1..33]);
        Ok(x)
    }

    fn signer(&self) -> curve::PrivateKey {
        curve::PrivateKey::decode(&self.0[..]).expect("checked when the key was made")
    }

    fn scalar(&self) -> curve::Scalar {
        let mut little_endian = self.0.clone();
        little_endian.reverse();
        curve::Scalar::decode_reduce(&little_endian[..])
    }
}

/// Only the uncompressed form is SP 800-73's; the point at infinity has none. The group's order is prime, so
/// every point on the curve is a good one.
fn parse_point(bytes: &[u8]) -> Result<curve::Point, CryptoError> {
    match bytes {
        [4, rest @ ..] if rest.len() == 64 => curve::Point::decode(bytes).ok_or(CryptoError::BadPoint),
        _ => Err(CryptoError::WrongLength),
    }
}
