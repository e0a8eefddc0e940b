//! What the authorities' signatures say: that this is a card, and which terminals may pair with it.

use alloc::{string::String, vec::Vec};

use cardhost_wire::{pairing::MAX_TERMINAL_NAME, status::Status};
use der::Encode;

use super::{Part, record::Certification, revocation::Revocations};
use crate::{
    crypto::PrivateKey,
    scp::certificate::{Authority, Refused, Verified},
};

/// A terminal that its authority certified.
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
    /// terminals' authority, for another use, or revoked.
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
    /// An authority's certificate is not signed by itself, or the card's not by the cards' authority.
    NotAuthentic,
    /// The certificate is for another key.
    OtherKey,
    /// Cards and terminals have one authority: each would pass for the other.
    OneAuthority,
}

/// Verifies the card's certificate by the one of the cards' authority, and takes the terminals' authority from its own (all
/// DER).
///
/// # Errors
/// [`NotCertified`].
pub fn certify(
    card: &PrivateKey,
    certificate: &[u8],
    card_authority: &[u8],
    terminal_authority: &[u8],
) -> Result<Certification, NotCertified> {
    let cards = Authority::self_signed(card_authority)?;
    let terminals = Authority::self_signed(terminal_authority)?;
    let authority = terminals.key().to_point();
    if cards.key().to_point() == authority {
        return Err(NotCertified::OneAuthority);
    }
    let verified = Authority::root(cards.key().clone()).verify(certificate)?;
    if verified.leaf()?.point != card.public_key().as_bytes() {
        return Err(NotCertified::OtherKey);
    }
    let issuer = terminals.subject().to_der().map_err(|_| NotCertified::Malformed)?;
    Ok(Certification { authority, issuer, certificate: certificate.to_vec() })
}

impl From<Refused> for NotCertified {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Malformed => Self::Malformed,
            Refused::Unauthorised => Self::NotAuthentic,
        }
    }
}
