//! Certificates of off-card entities: X.509 (RFC 5280) with ECDSA on P-256, in the profile of GlobalPlatform Amendment
//! F 1.3, 6.5. The card has no clock, so nobody's validity ends here: who is no longer to be admitted goes off the
//! allowlist.

use alloc::vec::Vec;

use const_oid::{ObjectIdentifier, db::rfc5912};
use der::{Decode, Encode};
use x509_cert::{
    Certificate,
    ext::pkix::{
        AuthorityKeyIdentifier, BasicConstraints, CertificatePolicies, KeyUsage, SubjectKeyIdentifier,
    },
    name::Name,
};

use crate::crypto::VerifyingKey;
use const_oid::AssociatedOid;

/// Extensions that the card understands, or may ignore as they stand.
const KNOWN: [ObjectIdentifier; 5] = [
    BasicConstraints::OID,
    KeyUsage::OID,
    AuthorityKeyIdentifier::OID,
    SubjectKeyIdentifier::OID,
    CertificatePolicies::OID,
];

/// Why a certificate is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Not a certificate of this profile.
    Malformed,
    /// Not signed by the key that should have, or for another use.
    Unauthorised,
}

/// A certificate that the key before it in the chain has signed.
pub struct Verified {
    certificate: Certificate,
    key: VerifyingKey,
}

/// The authority that the next certificate of a chain must be signed by.
#[derive(Clone)]
pub struct Authority {
    key: VerifyingKey,
    /// Authorities that may still follow, if it is bounded.
    below: Option<u8>,
}

/// The end of a chain: the key of an off-card entity for key agreement.
pub struct OffCardKey {
    /// Its point, uncompressed.
    pub point: Vec<u8>,
    /// Its certificate's serial number, big-endian without leading zeros.
    pub serial: Vec<u8>,
}

impl Authority {
    /// The authority whose key the card holds.
    pub const fn root(key: VerifyingKey) -> Self {
        Self { key, below: None }
    }

    /// Verifies that a certificate (DER) is an authority's, signed by its own key.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn self_signed(der: &[u8]) -> Result<Verified, Refused> {
        let certificate = Certificate::from_der(der).map_err(|_| Refused::Malformed)?;
        let key = public_key(&certificate).ok_or(Refused::Malformed)?;
        let verified = Self::root(key).verify(der)?;
        verified.path_length()?;
        Ok(verified)
    }

    /// Verifies a certificate (DER) by this authority's key.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn verify(&self, der: &[u8]) -> Result<Verified, Refused> {
        let certificate = Certificate::from_der(der).map_err(|_| Refused::Malformed)?;
        let signed = certificate.tbs_certificate().to_der().map_err(|_| Refused::Malformed)?;
        let algorithm = rfc5912::ECDSA_WITH_SHA_256;
        let named = [certificate.signature_algorithm(), certificate.tbs_certificate().signature()];
        if named.iter().any(|named| named.oid != algorithm) || has_unknown(&certificate) {
            return Err(Refused::Malformed);
        }
        if !self.key.verifies(&signed, certificate.signature().raw_bytes()) {
            return Err(Refused::Unauthorised);
        }
        let key = public_key(&certificate).ok_or(Refused::Malformed)?;
        Ok(Verified { certificate, key })
    }

    /// The authority that a verified certificate below this one makes.
    ///
    /// # Errors
    /// [`Refused::Unauthorised`]: it is none, or one too many.
    pub fn next(&self, verified: &Verified) -> Result<Self, Refused> {
        let own = verified.path_length()?;
        let left = self.below.map(|below| below.checked_sub(1).ok_or(Refused::Unauthorised)).transpose()?;
        let below = own.into_iter().chain(left).min();
        Ok(Self { key: verified.key.clone(), below })
    }
}

impl Verified {
    /// The certified key.
    pub const fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// Whose key it is.
    pub fn subject(&self) -> &Name {
        self.certificate.tbs_certificate().subject()
    }

    /// How many authorities may follow this one.
    fn path_length(&self) -> Result<Option<u8>, Refused> {
        let tbs = self.certificate.tbs_certificate();
        let usage = tbs.get_extension::<KeyUsage>().map_err(|_| Refused::Malformed)?;
        let constraints = tbs.get_extension::<BasicConstraints>().map_err(|_| Refused::Malformed)?;
        match (constraints, usage) {
            (_, Some((_, usage))) if !usage.key_cert_sign() => Err(Refused::Unauthorised),
            (Some((_, constraints)), _) if constraints.ca => Ok(constraints.path_len_constraint),
            _ => Err(Refused::Unauthorised),
        }
    }

    /// The key at the end of the chain.
    ///
    /// # Errors
    /// [`Refused::Unauthorised`]: it is not for key agreement.
    pub fn leaf(&self) -> Result<OffCardKey, Refused> {
        let tbs = self.certificate.tbs_certificate();
        let usage = tbs.get_extension::<KeyUsage>().map_err(|_| Refused::Malformed)?;
        if usage.is_some_and(|(_, usage)| !usage.key_agreement()) {
            return Err(Refused::Unauthorised);
        }
        let serial = without_leading_zeros(tbs.serial_number().as_bytes()).to_vec();
        Ok(OffCardKey { point: self.key.to_point(), serial })
    }
}

/// The number without what DER puts before it.
pub fn without_leading_zeros(mut number: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = number {
        number = rest;
    }
    number
}

/// True if a critical extension is none of those that the card understands (RFC 5280, 4.2).
fn has_unknown(certificate: &Certificate) -> bool {
    let mut extensions = certificate.tbs_certificate().extensions().into_iter().flatten();
    extensions.any(|extension| extension.critical && !KNOWN.contains(&extension.extn_id))
}

fn public_key(certificate: &Certificate) -> Option<VerifyingKey> {
    let info = certificate.tbs_certificate().subject_public_key_info();
    let curve: ObjectIdentifier = info.algorithm.parameters.as_ref()?.decode_as().ok()?;
    let is_p256 = info.algorithm.oid == rfc5912::ID_EC_PUBLIC_KEY && curve == rfc5912::SECP_256_R_1;
    let point = info.subject_public_key.as_bytes().filter(|_| is_p256)?;
    VerifyingKey::from_point(point).ok()
}
