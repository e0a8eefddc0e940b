//! The authorities of pairing keys, behind EST labels of their own (RFC 7030, 3.2.2), and the revocation list of terminals. A
//! foreign authority has none: then nothing pairs.

use x509_parser::parse_x509_certificate;

use super::{Authority, AuthorityError, transport::send};
use crate::pki::RevocationList;

/// Whose keys an authority certifies. Each has its own, so that no card passes as a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairingCa {
    /// Cards': CA-KLCC (GlobalPlatform Amendment F 1.3).
    Cards,
    /// Terminals': CA-KLOC (ibid.).
    Terminals,
}

impl PairingCa {
    fn path(self, operation: &str) -> String {
        let label = match self {
            Self::Cards => "pairing-cards",
            Self::Terminals => "pairing-terminals",
        };
        format!("/.well-known/est/{label}/{operation}")
    }
}

/// The authorities' own certificates, DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairingAuthorities {
    /// Of the one that certifies cards.
    pub cards: Vec<u8>,
    /// Of the one that certifies terminals.
    pub terminals: Vec<u8>,
}

impl Authority {
    /// True if keys of cards and terminals can be certified to pair.
    pub fn offers_pairing(&self) -> bool {
        self.foreign.is_none()
    }

    /// The certificate (DER) to which pairing certificates chain.
    pub async fn pairing_ca(&self, ca: PairingCa) -> Result<Vec<u8>, AuthorityError> {
        self.require_pairing()?;
        let certificates = self.certificates_at(&ca.path("cacerts")).await?;
        let is_authority =
            |der: &Vec<u8>| parse_x509_certificate(der).is_ok_and(|(_, parsed)| parsed.is_ca());
        certificates.into_iter().find(is_authority).ok_or(AuthorityError::Malformed)
    }

    /// Both authorities' certificates.
    pub async fn pairing_authorities(&self) -> Result<PairingAuthorities, AuthorityError> {
        let (cards, terminals) =
            tokio::try_join!(self.pairing_ca(PairingCa::Cards), self.pairing_ca(PairingCa::Terminals))?;
        Ok(PairingAuthorities { cards, terminals })
    }

    /// A certificate (DER) for a PKCS#10 request (DER) for a pairing key; the same request gets the same one.
    pub async fn enroll_pairing(&self, ca: PairingCa, request: &[u8]) -> Result<Vec<u8>, AuthorityError> {
        self.require_pairing()?;
        self.ask_for_certificate(&ca.path("simpleenroll"), request).await
    }

    /// A renewed certificate (DER) for the key and subject of a PKCS#10 request (DER), RFC 7030, 4.2.2.
    pub async fn renew_pairing(&self, ca: PairingCa, request: &[u8]) -> Result<Vec<u8>, AuthorityError> {
        self.require_pairing()?;
        self.ask_for_certificate(&ca.path("simplereenroll"), request).await
    }

    /// The revocation list of terminals.
    pub async fn pairing_crl(&self) -> Result<RevocationList, AuthorityError> {
        self.require_pairing()?;
        let answer = send(self.transport.get("/pairing/crl")).await?;
        RevocationList::parse(answer.body).map_err(|_| AuthorityError::Malformed)
    }

    fn require_pairing(&self) -> Result<(), AuthorityError> {
        if self.offers_pairing() { Ok(()) } else { Err(AuthorityError::Unsupported) }
    }
}
