//! Credentials of this service and of the hosts that may use it.

use std::{net::IpAddr, path::Path, sync::Arc};

use rcgen::{ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    server::{VerifierBuilderError, WebPkiClientVerifier},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::Duration;

use crate::ca::{Ca, CaError, parameters, write_private};

/// The TLS certificate is made anew at each start.
const SERVER_VALIDITY: Duration = Duration::days(398);
/// A host's credential.
const HOST_VALIDITY: Duration = Duration::days(3650);

/// A client certificate with its key: who shows it may ask for certificates and revocations.
pub struct Credential {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Its private key.
    pub key: PrivateKeyDer<'static>,
    certificate_pem: String,
    key_pem: String,
}

impl Credential {
    /// Writes `NAME.pem` and `NAME.key` (0600) into a folder.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> Result<(), CaError> {
        write_private(&folder.join(format!("{name}.key")), self.key_pem.as_bytes())?;
        write_private(&folder.join(format!("{name}.pem")), self.certificate_pem.as_bytes())
    }
}

/// A new host credential.
pub fn host_credential(service: &Ca, name: &str) -> Result<Credential, CaError> {
    signed(service, name, HOST_VALIDITY, ExtendedKeyUsagePurpose::ClientAuth, &[])
}

/// TLS for the server: 1.2 and 1.3, client certificates of the service CA, none for the public paths.
pub fn server_tls(service: &Ca, addresses: &[IpAddr]) -> Result<Arc<ServerConfig>, TlsError> {
    let names: Vec<_> = addresses.iter().map(|address| SanType::IpAddress(*address)).collect();
    let purpose = ExtendedKeyUsagePurpose::ServerAuth;
    let identity = signed(service, "cardhost authority", SERVER_VALIDITY, purpose, &names)?;
    let mut roots = RootCertStore::empty();
    roots.add(service.der.clone())?;
    let provider = Arc::new(default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![identity.certificate], identity.key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate could not be made.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The TLS library refuses.
    #[error("TLS")]
    Tls(#[from] rustls::Error),
    /// The client verifier cannot be made.
    #[error("TLS client certificates")]
    Verifier(#[from] VerifierBuilderError),
}

fn signed(
    service: &Ca,
    name: &str,
    validity: Duration,
    purpose: ExtendedKeyUsagePurpose,
    names: &[SanType],
) -> Result<Credential, CaError> {
    let key = KeyPair::generate()?;
    let mut parameters = parameters(name, validity);
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![purpose];
    parameters.subject_alt_names = names.to_vec();
    parameters.subject_alt_names.push(SanType::DnsName("localhost".try_into()?));
    let certificate = parameters.signed_by(&key, &service.issuer)?;
    Ok(Credential {
        certificate: certificate.der().clone(),
        key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        certificate_pem: certificate.pem(),
        key_pem: key.serialize_pem(),
    })
}
