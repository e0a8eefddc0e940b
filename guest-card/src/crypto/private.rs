//! One private key of any algorithm that the card offers.

use alloc::vec::Vec;

use cardhost_wire::key::Algorithm;
use der::{Encode, Sequence, asn1::UintRef};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256, Sha384};
use zeroize::Zeroizing;

use super::{
    CryptoError, PublicKey,
    ec::{p256, p384},
    rsa,
};

/// A loaded private key, erased on drop. No `Debug`, no `Clone`.
pub struct PrivateKey(Kind);

enum Kind {
    P256(p256::Key),
    P384(p384::Key),
    Rsa(Algorithm, rsa::Key),
}

impl PrivateKey {
    /// Makes a key. RSA takes up to some hundred milliseconds.
    pub fn generate(algorithm: Algorithm, rng: &mut impl CryptoRng) -> Result<Self, CryptoError> {
        Ok(Self(match algorithm {
            Algorithm::P256 => Kind::P256(p256::Key::generate(rng)),
            Algorithm::P384 => Kind::P384(p384::Key::generate(rng)),
            Algorithm::Rsa2048 => Kind::Rsa(algorithm, rsa::Key::generate(2048, rng)?),
            Algorithm::Rsa3072 => Kind::Rsa(algorithm, rsa::Key::generate(3072, rng)?),
        }))
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, CryptoError> {
        Ok(Self(match algorithm {
            Algorithm::P256 => Kind::P256(p256::Key::from_bytes(bytes)?),
            Algorithm::P384 => Kind::P384(p384::Key::from_bytes(bytes)?),
            Algorithm::Rsa2048 => Kind::Rsa(algorithm, rsa::Key::from_bytes(2048, bytes)?),
            Algorithm::Rsa3072 => Kind::Rsa(algorithm, rsa::Key::from_bytes(3072, bytes)?),
        }))
    }

    /// The secret as it is stored: the scalar (32 or 48 bytes), or RSA's `p ‖ q` (256 or 384).
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        match &self.0 {
            Kind::P256(key) => key.to_bytes(),
            Kind::P384(key) => key.to_bytes(),
            Kind::Rsa(_, key) => key.to_bytes(),
        }
    }

    /// The key's algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Kind::P256(_) => Algorithm::P256,
            Kind::P384(_) => Algorithm::P384,
            Kind::Rsa(algorithm, _) => *algorithm,
        }
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        let bytes = match &self.0 {
            Kind::P256(key) => key.public_point(),
            Kind::P384(key) => key.public_point(),
            Kind::Rsa(_, key) => key.modulus(),
        };
        PublicKey::of_own_key(self.algorithm(), bytes)
    }

    /// ECDSA over a ready digest of 20, 28, 32, 48 or 64 bytes, a longer one than the curve's order truncated as
    /// FIPS 186-5 says. Answers DER (`Ecdsa-Sig-Value`, RFC 3279).
    pub fn sign_digest(&self, digest: &[u8], rng: &mut impl CryptoRng) -> Result<Vec<u8>, CryptoError> {
        if !matches!(digest.len(), 20 | 28 | 32 | 48 | 64) {
            return Err(CryptoError::WrongLength);
        }
        match &self.0 {
            Kind::P256(key) => Ok(signature_der(&key.sign(digest, rng)?)),
            Kind::P384(key) => Ok(signature_der(&key.sign(digest, rng)?)),
            Kind::Rsa(..) => Err(CryptoError::WrongAlgorithm),
        }
    }

    /// The RSA private operation on a number exactly as long as the modulus; so is the answer.
    pub fn raw_rsa(&self, message: &[u8], rng: &mut impl CryptoRng) -> Result<Vec<u8>, CryptoError> {
        match &self.0 {
            Kind::Rsa(_, key) => key.raw(message, rng),
            _ => Err(CryptoError::WrongAlgorithm),
        }
    }

    /// ECDH (SP 800-56A, 5.7.1.2) with the peer's uncompressed point: the shared x-coordinate.
    pub fn agree(&self, peer: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        match &self.0 {
            Kind::P256(key) => key.agree(peer),
            Kind::P384(key) => key.agree(peer),
            Kind::Rsa(..) => Err(CryptoError::WrongAlgorithm),
        }
    }

    /// Hashes and signs a message: RSASSA-PKCS1-v1_5 or ECDSA (DER), with SHA-256, on P-384 with SHA-384.
    /// [`PublicKey::signature_algorithm`] names it.
    pub fn sign_message(&self, message: &[u8], rng: &mut impl CryptoRng) -> Result<Vec<u8>, CryptoError> {
        match &self.0 {
            Kind::P256(_) => self.sign_digest(&Sha256::digest(message), rng),
            Kind::P384(_) => self.sign_digest(&Sha384::digest(message), rng),
            Kind::Rsa(_, key) => key.sign_message(message, rng),
        }
    }
}

#[derive(Sequence)]
struct EcdsaSigValue<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

fn signature_der(fixed: &[u8]) -> Vec<u8> {
    let (r, s) = fixed.split_at(fixed.len() / 2);
    let [r, s] = [r, s].map(|half| UintRef::new(half).expect("48 bytes are short enough"));
    EcdsaSigValue { r, s }.to_der().expect("two short integers encode")
}
