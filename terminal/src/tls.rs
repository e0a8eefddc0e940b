//! TLS 1.3 with *ring*: whom the terminal trusts, and how it proves who it is.

use std::sync::Arc;

use ring::digest;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::CryptoProvider,
    server::ParsedCertificate,
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _};
use rustls_platform_verifier::Verifier;

use crate::state::{Device, Trust};

/// Why there is no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The trusted certificate is not one.
    #[error("the certification authority's file holds no usable PEM certificate")]
    Authority,
    /// The pin is no SHA-256.
    #[error("a pin is the SHA-256 of a certificate: 64 hexadecimal digits")]
    Pin,
    /// The device's certificate or key is not usable.
    #[error("this terminal's device certificate or key is not usable: {0}")]
    Device(rustls::Error),
    /// The certificate or key file does not parse.
    #[error("this terminal's device certificate or key is damaged")]
    DamagedDevice,
    /// This computer's own trust store.
    #[error("this computer's certification authorities cannot be used: {0}")]
    System(rustls::Error),
    /// Neither version nor verifier can be set up.
    #[error("TLS cannot be set up: {0}")]
    SetUp(rustls::Error),
}

/// A client that trusts `trust` and proves itself as `device`, if there is one.
pub fn client_config(trust: &Trust, device: Option<&Device>) -> Result<ClientConfig, TlsError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::SetUp)?
        .dangerous()
        .with_custom_certificate_verifier(verifier(trust)?);
    let Some(device) = device else { return Ok(config.with_no_client_auth()) };
    let (chain, key) = identity(device)?;
    config.with_client_auth_cert(chain, key).map_err(TlsError::Device)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn verifier(trust: &Trust) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    Ok(match trust {
        Trust::System => Arc::new(Verifier::new(provider()).map_err(TlsError::System)?),
        Trust::CaPem(pem) => authority(pem)?,
        Trust::CaSha256(pin) => Arc::new(Pinned { sha256: parse_pin(pin)?, provider: provider() }),
    })
}

fn authority(pem: &str) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.map_err(|_| TlsError::Authority)?).map_err(|_| TlsError::Authority)?;
    }
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    built.map_err(|_| TlsError::Authority)
}

fn identity(device: &Device) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(device.certificate_pem.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(device.key_pem.as_bytes());
    chain.ok().zip(key.ok()).ok_or(TlsError::DamagedDevice)
}

fn parse_pin(text: &str) -> Result<[u8; 32], TlsError> {
    let mut pin = [0; 32];
    hex::decode_to_slice(text.replace(':', ""), &mut pin).map_err(|_| TlsError::Pin)?;
    Ok(pin)
}

/// Checks a pin's form, so that a typing error is told before anything is sent.
pub fn check_pin(text: &str) -> Result<(), TlsError> {
    parse_pin(text).map(drop)
}

/// Trusts the one certificate with this SHA-256: as certification authority if the host sends it in its chain, or
/// as the server's own certificate.
#[derive(Debug)]
struct Pinned {
    sha256: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    fn is(&self, certificate: &CertificateDer<'_>) -> bool {
        digest::digest(&digest::SHA256, certificate).as_ref() == self.sha256
    }

    fn authority(&self, root: &CertificateDer<'_>) -> Result<Arc<WebPkiServerVerifier>, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(root.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.is(end_entity) {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
            return Ok(ServerCertVerified::assertion());
        }
        let root = intermediates.iter().find(|certificate| self.is(certificate));
        let root = root.ok_or(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        self.authority(root)?.verify_server_cert(end_entity, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_read_with_and_without_colons() {
        assert!(check_pin(&"ab".repeat(32)).is_ok());
        assert!(check_pin(&["ab"; 32].join(":")).is_ok());
        assert!(matches!(check_pin("ab"), Err(TlsError::Pin)));
    }

    #[test]
    fn only_the_pinned_certificate_is_trusted() {
        let name = ServerName::try_from("localhost").unwrap();
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let sha256 = digest::digest(&digest::SHA256, own.cert.der()).as_ref().try_into().unwrap();
        let pinned = Pinned { sha256, provider: provider() };
        let verify = |certificate| pinned.verify_server_cert(certificate, &[], &name, &[], UnixTime::now());
        assert!(verify(own.cert.der()).is_ok());
        assert!(verify(other.cert.der()).is_err());
    }
}
