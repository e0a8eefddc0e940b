//! Certificate revocation lists of the terminals' authority (RFC 5280, 5). The card has no clock: a list is newer than
//! another by its number alone.
//!
//! The signature is verified over the bytes as they came, before anything of the list is parsed: what a host makes up
//! costs the card no memory.

use alloc::vec::Vec;

use cardhost_wire::{control::Failure, status::Status};
use const_oid::{AssociatedOid, ObjectIdentifier, db::rfc5912};
use der::{
    Decode, Encode, Sequence,
    asn1::{AnyRef, BitStringRef},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use spki::AlgorithmIdentifierRef;
use x509_cert::{
    certificate::{Rfc5280, Version},
    crl::TbsCertList,
    ext::{
        Extension,
        pkix::{AuthorityKeyIdentifier, CrlNumber},
    },
};

use super::{
    Change, Part,
    record::{self, Certification},
};
use crate::{nvm::structure, scp::certificate::without_leading_zeros};

/// Most certificates in a list.
const MOST: usize = 1024;
/// Bytes of SHA-256 that stand for a serial number.
const SHORT_HASH: usize = 8;
/// Extensions that the card understands.
const KNOWN: [ObjectIdentifier; 2] = [CrlNumber::OID, AuthorityKeyIdentifier::OID];

/// A list as the card keeps it: its number, and of each serial number without leading zeros the beginning of its hash,
/// in order.
#[derive(Serialize, Deserialize)]
pub struct Revocations {
    number: u64,
    serials: Vec<[u8; SHORT_HASH]>,
}

#[derive(Sequence)]
struct SignedList<'a> {
    list: AnyRef<'a>,
    algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitStringRef<'a>,
}

impl Revocations {
    /// Reads the newest list, if there was one.
    ///
    /// # Errors
    /// `6581`: the record is not one of ours.
    pub fn load(nvm: Part<'_>) -> Result<Option<Self>, Status> {
        structure::load(nvm, record::REVOCATIONS)
    }

    /// Adds it to a change.
    pub fn put(&self, change: Change) -> Change {
        change.put(record::REVOCATIONS, structure::encode(self))
    }

    /// Verifies a list (DER) by the authority's key.
    ///
    /// # Errors
    /// [`Failure::Malformed`]: not a list of this profile; [`Failure::NotAuthentic`]: not the authority's;
    /// [`Failure::NoMemory`]: too many certificates.
    pub fn verify(by: &Certification, der: &[u8]) -> Result<Self, Failure> {
        let signed = SignedList::from_der(der).map_err(malformed)?;
        let list = signed.list.to_der().map_err(malformed)?;
        let key = by.verifying_key().map_err(|_| Failure::NotAuthentic)?;
        if signed.algorithm.oid != rfc5912::ECDSA_WITH_SHA_256 {
            return Err(Failure::Malformed);
        }
        if !key.verifies(&list, signed.signature.raw_bytes()) {
            return Err(Failure::NotAuthentic);
        }
        Self::read(by, &TbsCertList::from_der(&list).map_err(malformed)?)
    }

    fn read(by: &Certification, list: &TbsCertList<Rfc5280>) -> Result<Self, Failure> {
        let revoked = list.revoked_certificates.as_deref().unwrap_or_default();
        let extensions = list.crl_extensions.as_deref().unwrap_or_default();
        let of_entries = revoked.iter().filter_map(|entry| entry.crl_entry_extensions.as_ref()).flatten();
        let has_unknown = extensions.iter().chain(of_entries).any(is_unknown);
        if list.version != Version::V2 || list.signature.oid != rfc5912::ECDSA_WITH_SHA_256 || has_unknown {
            return Err(Failure::Malformed);
        }
        if list.issuer.to_der().map_err(malformed)? != by.issuer {
            return Err(Failure::NotAuthentic);
        }
        if revoked.len() > MOST {
            return Err(Failure::NoMemory);
        }
        let mut serials: Vec<_> =
            revoked.iter().map(|entry| short_hash(entry.serial_number.as_bytes())).collect();
        serials.sort_unstable();
        Ok(Self { number: number(extensions)?, serials })
    }

    /// The list's number.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// True if the certificate with this serial number is revoked.
    pub fn contains(&self, serial: &[u8]) -> bool {
        self.serials.binary_search(&short_hash(serial)).is_ok()
    }
}

fn malformed(_: der::Error) -> Failure {
    Failure::Malformed
}

/// Critical, and nothing that the card understands.
fn is_unknown(extension: &Extension) -> bool {
    extension.critical && !KNOWN.contains(&extension.extn_id)
}

/// The one CRL number.
fn number(extensions: &[Extension]) -> Result<u64, Failure> {
    let mut numbers = extensions.iter().filter(|extension| extension.extn_id == CrlNumber::OID);
    let (Some(extension), None) = (numbers.next(), numbers.next()) else { return Err(Failure::Malformed) };
    u64::from_der(extension.extn_value.as_bytes()).map_err(malformed)
}

fn short_hash(serial: &[u8]) -> [u8; SHORT_HASH] {
    let hash: [u8; 32] = Sha256::digest(without_leading_zeros(serial)).into();
    *hash.first_chunk().expect("a hash is longer")
}
