//! Public keys and their names in X.509.

use alloc::vec::Vec;

use cardhost_wire::key::Algorithm;
use const_oid::{ObjectIdentifier, db::rfc5912};
use der::{
    Any, Encode,
    asn1::{BitString, Null, UintRef},
};
use rsa::pkcs1::RsaPublicKey;
use sha2::{Digest, Sha256};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::rsa::PUBLIC_EXPONENT;

/// The public half of a key of this card.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

impl PublicKey {
    /// A key that this card made: an uncompressed point, or a modulus with the exponent 65,537.
    pub(crate) const fn of_own_key(algorithm: Algorithm, bytes: Vec<u8>) -> Self {
        Self { algorithm, bytes }
    }

    /// The key's algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The uncompressed point (SEC 1), or the modulus, big-endian.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// RSA's public exponent, big-endian without leading zeros.
    pub const fn public_exponent() -> [u8; 3] {
        let [_, exponent @ ..] = PUBLIC_EXPONENT.to_be_bytes();
        exponent
    }

    /// The SubjectPublicKeyInfo (RFC 5280, 4.1; RFC 3279; RFC 5480).
    pub fn to_spki(&self) -> SubjectPublicKeyInfoOwned {
        let key = match self.algorithm {
            Algorithm::P256 | Algorithm::P384 => self.bytes.clone(),
            Algorithm::Rsa2048 | Algorithm::Rsa3072 => self.rsa_public_key(),
        };
        let subject_public_key = BitString::from_bytes(&key).expect("whole bytes");
        SubjectPublicKeyInfoOwned { algorithm: self.key_algorithm(), subject_public_key }
    }

    /// The SubjectPublicKeyInfo, DER.
    pub fn to_spki_der(&self) -> Vec<u8> {
        self.to_spki().to_der().expect("a short sequence encodes")
    }

    /// SHA-256 of the SubjectPublicKeyInfo: the name of the key in messages to the host.
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(self.to_spki_der()).into()
    }

    /// The algorithm of signatures by [`super::PrivateKey::sign_message`] (RFC 4055, RFC 5758).
    pub fn signature_algorithm(&self) -> AlgorithmIdentifierOwned {
        match self.algorithm {
            Algorithm::P256 => identifier(rfc5912::ECDSA_WITH_SHA_256, None),
            Algorithm::P384 => identifier(rfc5912::ECDSA_WITH_SHA_384, None),
            Algorithm::Rsa2048 | Algorithm::Rsa3072 => {
                identifier(rfc5912::SHA_256_WITH_RSA_ENCRYPTION, Some(Null.into()))
            }
        }
    }

    fn key_algorithm(&self) -> AlgorithmIdentifierOwned {
        match self.algorithm {
            Algorithm::P256 => identifier(rfc5912::ID_EC_PUBLIC_KEY, Some(rfc5912::SECP_256_R_1.into())),
            Algorithm::P384 => identifier(rfc5912::ID_EC_PUBLIC_KEY, Some(rfc5912::SECP_384_R_1.into())),
            Algorithm::Rsa2048 | Algorithm::Rsa3072 => identifier(rfc5912::RSA_ENCRYPTION, Some(Null.into())),
        }
    }

    fn rsa_public_key(&self) -> Vec<u8> {
        let exponent = Self::public_exponent();
        let number = |bytes| UintRef::new(bytes).expect("a modulus is short enough");
        RsaPublicKey { modulus: number(&self.bytes), public_exponent: number(&exponent) }
            .to_der()
            .expect("two short integers encode")
    }
}

const fn identifier(oid: ObjectIdentifier, parameters: Option<Any>) -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid, parameters }
}
