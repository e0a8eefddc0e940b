//! The certificates of a pairing: the card's, which this terminal verifies, and the terminal's own.

use p256::{PublicKey, SecretKey, pkcs8::DecodePrivateKey as _};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use x509_parser::{
    certificate::X509Certificate, oid_registry::OID_KEY_TYPE_EC_PUBLIC_KEY, prelude::FromDer as _,
    time::ASN1Time,
};

/// Why a certificate is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not one X.509 certificate with a key on P-256.
    #[error("it is not a certificate of a P-256 key")]
    Malformed,
    /// Signed by somebody else.
    #[error("it is not signed by the authority that this terminal trusts")]
    NotSigned,
    /// Its validity has ended or not begun.
    #[error("it is not valid now")]
    NotNow,
    /// Not for key agreement.
    #[error("it is not for key agreement")]
    Usage,
}

/// What a terminal pairs itself with: its certified key, and the authority that also certifies cards.
pub struct Identity {
    /// The terminal's key.
    pub key: SecretKey,
    /// Its certificate, DER.
    pub certificate: CertificateDer<'static>,
    /// The authority's certificate, DER.
    pub authority: CertificateDer<'static>,
}

impl Identity {
    /// From PEM: a PKCS#8 key and two certificates.
    pub fn from_pem(key: &str, certificate: &str, authority: &str) -> Option<Self> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes()).ok()?;
        let certificate_from = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).ok();
        Some(Self {
            key: SecretKey::from_pkcs8_der(key.secret_pkcs8_der()).ok()?,
            certificate: certificate_from(certificate)?,
            authority: certificate_from(authority)?,
        })
    }

    /// The card's key, if the authority has certified it for key agreement.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn card_key(&self, certificate: &[u8]) -> Result<PublicKey, CertificateError> {
        let authority = parse(&self.authority)?;
        let card = parse(certificate)?;
        card.verify_signature(Some(authority.public_key())).map_err(|_| CertificateError::NotSigned)?;
        if !card.validity().is_valid_at(ASN1Time::now()) {
            return Err(CertificateError::NotNow);
        }
        let usage = card.key_usage().map_err(|_| CertificateError::Malformed)?;
        if !usage.is_some_and(|usage| usage.value.key_agreement()) || card.is_ca() {
            return Err(CertificateError::Usage);
        }
        public_key(&card)
    }
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(CertificateError::Malformed),
    }
}

fn public_key(certificate: &X509Certificate<'_>) -> Result<PublicKey, CertificateError> {
    let key = certificate.public_key();
    if key.algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY {
        return Err(CertificateError::Malformed);
    }
    PublicKey::from_sec1_bytes(&key.subject_public_key.data).map_err(|_| CertificateError::Malformed)
}
