//! What the host's certification authorities sign.

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use time::Duration;
use x509_parser::prelude::FromDer as _;

use super::{CertificationAuthority, PkiError, named, private_key};

/// Validity of the certificates that the host issues: TLS server, TLS client, terminal.
const VALIDITY: Duration = Duration::days(397);

/// A certificate with its private key, for one end of a TLS connection.
pub struct Identity {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// Both as PEM, certificate first.
    pub pem: zeroize::Zeroizing<String>,
}

/// A terminal's client certificate.
#[derive(Debug, Clone)]
pub struct DeviceCertificate {
    /// PEM.
    pub pem: String,
    /// SHA-256 of its DER.
    pub fingerprint: [u8; 32],
    /// Its last second, Unix time.
    pub expires_at: i64,
}

/// The certification request of a device is not acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeviceRequestRefused {
    /// Not one PKCS#10 request in PEM.
    #[error("the certification request is not a PKCS#10 request in PEM")]
    Malformed,
    /// Its self-signature does not verify: no proof that the terminal has the key.
    #[error("the certification request's signature does not verify")]
    BadSignature,
    /// Its key or what it asks for is not supported.
    #[error("the certification request asks for what is not supported")]
    Unsupported,
}

impl CertificationAuthority {
    /// Makes a key and a TLS server certificate for these names and addresses.
    pub fn server_identity(&self, names: &[SanType]) -> Result<Identity, PkiError> {
        let mut parameters = named("cardhost", VALIDITY);
        parameters.subject_alt_names = names.to_vec();
        self.identity(parameters, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Certifies a terminal's device key. The subject is the terminal's name, whatever the request says.
    pub fn certify_device(
        &self,
        request: &str,
        terminal: &str,
    ) -> Result<DeviceCertificate, DeviceRequestRefused> {
        let mut request = verified_request(request)?;
        let template = device_parameters(terminal);
        let expires_at = template.not_after.unix_timestamp();
        request.params = template;
        let certificate = request.signed_by(&self.issuer).map_err(|_| DeviceRequestRefused::Unsupported)?;
        let fingerprint = Sha256::digest(certificate.der()).into();
        Ok(DeviceCertificate { pem: certificate.pem(), fingerprint, expires_at })
    }

    fn identity(
        &self,
        mut parameters: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Identity, PkiError> {
        leaf(&mut parameters, usage);
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        let pem = zeroize::Zeroizing::new(certificate.pem() + &key.serialize_pem());
        Ok(Identity { certificate: certificate.der().clone(), key: private_key(&key), pem })
    }
}

fn verified_request(pem: &str) -> Result<CertificateSigningRequestParams, DeviceRequestRefused> {
    let der = single_request(pem)?;
    let (rest, request) = x509_parser::certification_request::X509CertificationRequest::from_der(&der)
        .map_err(|_| DeviceRequestRefused::Malformed)?;
    if !rest.is_empty() {
        return Err(DeviceRequestRefused::Malformed);
    }
    request.verify_signature().map_err(|_| DeviceRequestRefused::BadSignature)?;
    CertificateSigningRequestParams::from_pem(pem).map_err(|_| DeviceRequestRefused::Unsupported)
}

pub(super) fn single_request(pem: &str) -> Result<Vec<u8>, DeviceRequestRefused> {
    use rustls_pki_types::{CertificateSigningRequestDer, pem::PemObject as _};
    let mut requests = CertificateSigningRequestDer::pem_slice_iter(pem.as_bytes());
    match (requests.next(), requests.next()) {
        (Some(Ok(request)), None) => Ok(request.to_vec()),
        _ => Err(DeviceRequestRefused::Malformed),
    }
}

fn device_parameters(terminal: &str) -> CertificateParams {
    let mut parameters = named(terminal, VALIDITY);
    leaf(&mut parameters, ExtendedKeyUsagePurpose::ClientAuth);
    parameters
}

fn leaf(parameters: &mut CertificateParams, usage: ExtendedKeyUsagePurpose) {
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![usage];
    parameters.use_authority_key_identifier_extension = true;
}
