//! What is asked for in a certification request (PKCS#10), checked.

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
};
use rustls_pki_types::CertificateSigningRequestDer;
use x509_parser::{
    certification_request::X509CertificationRequest, prelude::FromDer as _, public_key::PublicKey,
    x509::SubjectPublicKeyInfo,
};

use crate::{IssueError, ca::CaName};

/// A checked certification request.
pub struct Request {
    /// Whom it asks.
    pub ca: CaName,
    /// The certificate to be, but for serial number and validity.
    pub parameters: CertificateParams,
    /// Its subject, RFC 4514.
    pub subject: String,
    /// Its SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
}

impl Request {
    /// The signature is verified by the parser. Of what is requested only the subject is kept, and for the issuing
    /// authority subject alternative names.
    pub fn parse(ca: CaName, request: &[u8]) -> Result<Self, IssueError> {
        let der = CertificateSigningRequestDer::from(request);
        let requested =
            CertificateSigningRequestParams::from_der(&der).map_err(|_| IssueError::BadRequest)?;
        let (rest, parsed) =
            X509CertificationRequest::from_der(request).map_err(|_| IssueError::BadRequest)?;
        let information = &parsed.certification_request_info;
        if !rest.is_empty() {
            return Err(IssueError::BadRequest);
        }
        let parameters = match ca {
            CaName::Issuing => to_issue(requested.params, &information.subject_pki)?,
            CaName::PairingCards | CaName::PairingTerminals => {
                to_pair(requested.params, &information.subject_pki)?
            }
        };
        Ok(Self {
            ca,
            subject: information.subject.to_string(),
            public_key: information.subject_pki.raw.to_vec(),
            parameters,
        })
    }
}

fn to_issue(
    mut parameters: CertificateParams,
    key: &SubjectPublicKeyInfo<'_>,
) -> Result<CertificateParams, IssueError> {
    if !is_supported(key) {
        return Err(IssueError::UnsupportedKey);
    }
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = usages(key);
    parameters.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::EmailProtection];
    parameters.use_authority_key_identifier_extension = true;
    Ok(parameters)
}

/// A certificate for SCP11 (GlobalPlatform Amendment F 1.3, 6.4): key agreement, and nothing else.
fn to_pair(
    requested: CertificateParams,
    key: &SubjectPublicKeyInfo<'_>,
) -> Result<CertificateParams, IssueError> {
    if !matches!(key.parsed(), Ok(PublicKey::EC(point)) if point.key_size() == 256) {
        return Err(IssueError::UnsupportedPairingKey);
    }
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = requested.distinguished_name;
    parameters.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    Ok(parameters)
}

fn is_supported(key: &SubjectPublicKeyInfo<'_>) -> bool {
    match key.parsed() {
        Ok(PublicKey::RSA(key)) => matches!(key.key_size(), 2048 | 3072),
        Ok(PublicKey::EC(point)) => matches!(point.key_size(), 256 | 384),
        _ => false,
    }
}

/// A card's key may also serve key establishment (RFC 5480, 3; RFC 3279, 2.3.1): clients offer it only if its
/// certificate says so.
fn usages(key: &SubjectPublicKeyInfo<'_>) -> Vec<KeyUsagePurpose> {
    let is_rsa = matches!(key.parsed(), Ok(PublicKey::RSA(_)));
    let establishment = if is_rsa { KeyUsagePurpose::KeyEncipherment } else { KeyUsagePurpose::KeyAgreement };
    vec![KeyUsagePurpose::DigitalSignature, establishment]
}
