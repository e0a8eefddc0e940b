//! The authority of pairing keys, behind EST's label `pairing` (RFC 7030, 3.2.2), and its revocation list. A foreign
//! authority has none: then nothing pairs.

use x509_parser::parse_x509_certificate;

use super::{Authority, AuthorityError, transport::send};
use crate::pki::RevocationList;

const LABEL: &str = "/.well-known/est/pairing";

impl Authority {
    /// True if keys of cards and terminals can be certified to pair.
    pub fn offers_pairing(&self) -> bool {
        self.foreign.is_none()
    }

    /// The certificate (DER) to which pairing certificates chain.
    pub async fn pairing_ca(&self) -> Result<Vec<u8>, AuthorityError> {
        self.require_pairing()?;
        let certificates = self.certificates_at(&format!("{LABEL}/cacerts")).await?;
        let is_authority =
            |der: &Vec<u8>| parse_x509_certificate(der).is_ok_and(|(_, parsed)| parsed.is_ca());
        certificates.into_iter().find(is_authority).ok_or(AuthorityError::Malformed)
    }

    /// A certificate (DER) for a PKCS#10 request (DER) for a pairing key; the same request gets the same one.
    pub async fn enroll_pairing(&self, request: &[u8]) -> Result<Vec<u8>, AuthorityError> {
        self.require_pairing()?;
        self.ask_for_certificate(&format!("{LABEL}/simpleenroll"), request).await
    }

    /// The pairing authority's revocation list.
    pub async fn pairing_crl(&self) -> Result<RevocationList, AuthorityError> {
        self.require_pairing()?;
        let answer = send(self.transport.get("/pairing/crl")).await?;
        RevocationList::parse(answer.body).map_err(|_| AuthorityError::Malformed)
    }

    fn require_pairing(&self) -> Result<(), AuthorityError> {
        if self.offers_pairing() { Ok(()) } else { Err(AuthorityError::Unsupported) }
    }
}
