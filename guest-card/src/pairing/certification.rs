//! What the authority's signature says of others: who the authority is, and which terminals are its.

use alloc::{string::String, vec::Vec};

use cardhost_wire::{pairing::MAX_TERMINAL_NAME, status::Status};
use der::Encode;

use super::{Part, record::Certification, revocation::Revocations};
use crate::{
    crypto::PrivateKey,
    scp::certificate::{Authority, Refused, Verified},
};

/// A terminal that the authority certified.
pub struct Terminal {
    /// Common name in its certificate, 1 to 64 bytes.
    pub name: String,
    /// The certificate's serial number, big-endian without leading zeros.
    pub serial: Vec<u8>,
    /// PK.OCE.ECKA, uncompressed.
    pub point: Vec<u8>,
}

impl Terminal {
    /// Verifies a terminal's certificate (DER).
    ///
    /// # Errors
    /// `6A88`: the card knows no authority; `6A80`: not a certificate of the profile; `6982`: not signed by the
    /// authority, for another use, or revoked.
    pub fn verify(nvm: Part<'_>, der: &[u8]) -> Result<Self, Status> {
        let authority =
            Certification::load(nvm)?.ok_or(Status::REFERENCED_DATA_NOT_FOUND)?.verifying_key()?;
        let verified = Authority::root(authority).verify(der).map_err(refused)?;
        let leaf = verified.leaf().map_err(refused)?;
        let name = name(&verified).ok_or(Status::WRONG_DATA)?;
        let terminal = Self { name, serial: leaf.serial, point: leaf.point };
        if Revocations::load(nvm)?.is_some_and(|list| list.contains(&terminal.serial)) {
            return Err(Status::SECURITY_STATUS_NOT_SATISFIED);
        }
        Ok(terminal)
    }
}

fn name(certificate: &Verified) -> Option<String> {
    let name = certificate.subject().common_name().ok().flatten()?;
    let name = name.value();
    (1..=MAX_TERMINAL_NAME).contains(&name.len()).then(|| name.into_owned())
}

const fn refused(refused: Refused) -> Status {
    match refused {
        Refused::Malformed => Status::WRONG_DATA,
        Refused::Unauthorised => Status::SECURITY_STATUS_NOT_SATISFIED,
    }
}

/// Why a certification is not accepted.
pub enum NotCertified {
    /// A certificate is not of the profile.
    Malformed,
    /// The authority's certificate is not signed by itself, or the card's not by the authority.
    NotAuthentic,
    /// The certificate is for another key.
    OtherKey,
}

/// Verifies the card's certificate and its authority's own (both DER).
///
/// # Errors
/// [`NotCertified`].
pub fn certify(
    card: &PrivateKey,
    certificate: &[u8],
    authority: &[u8],
) -> Result<Certification, NotCertified> {
    let root = Authority::self_signed(authority)?;
    let verified = Authority::root(root.key().clone()).verify(certificate)?;
    if verified.leaf()?.point != card.public_key().as_bytes() {
        return Err(NotCertified::OtherKey);
    }
    let issuer = root.subject().to_der().map_err(|_| NotCertified::Malformed)?;
    Ok(Certification { authority: root.key().to_point(), issuer, certificate: certificate.to_vec() })
}

impl From<Refused> for NotCertified {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Malformed => Self::Malformed,
            Refused::Unauthorised => Self::NotAuthentic,
        }
    }
}
