//! The daemon's identity towards its clients.

use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{Config, StartError, TlsFiles, authority, names};
use crate::pki::Pki;

/// Chain, key, and the PEM that a client has to trust.
pub(super) type TlsIdentity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, String);

/// The operator's identity, or one of the host's own CA.
pub(super) fn identity(config: &Config, pki: &Pki) -> Result<TlsIdentity, StartError> {
    match &config.tls {
        Some(files) => operator_identity(files),
        None => {
            let identity = pki.host.server_identity(&names::subject_alt_names(config.listen.ip()))?;
            Ok((vec![identity.certificate], identity.key, pki.host.pem().into()))
        }
    }
}

fn operator_identity(files: &TlsFiles) -> Result<TlsIdentity, StartError> {
    let (chain, key) = authority::identity(files)?;
    let unreadable = |error| StartError::TlsFile {
        path: files.certificate.clone(),
        source: rustls_pki_types::pem::Error::Io(error),
    };
    let pem = std::fs::read_to_string(&files.certificate).map_err(unreadable)?;
    Ok((chain, key, pem))
}
