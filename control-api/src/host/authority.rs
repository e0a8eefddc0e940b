//! Which authority the daemon works with, and as whom.

use std::path::PathBuf;

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use zeroize::Zeroizing;

use super::{StartError, TlsFiles};
use crate::{
    authority::{Authority, Config, Kind, foreign},
    pki::{Identity, Pki},
};

/// Where the embedded authority serves.
const EMBEDDED: &str = "https://127.0.0.1:8444";

/// An authority of the operator's choice instead of the embedded one.
#[derive(Clone, Debug)]
pub struct OtherAuthority {
    /// Its base address, `https://…`.
    pub url: String,
    /// What it offers.
    pub kind: AuthorityKind,
    /// File with the certificates that its TLS certificate must chain to, PEM.
    pub trusted: PathBuf,
    /// The host's client certificate for it.
    pub identity: Option<TlsFiles>,
    /// User, and the file of its password, for HTTP Basic.
    pub basic: Option<(String, PathBuf)>,
    /// Where its CRL is, if its certificates do not say.
    pub crl: Option<String>,
}

/// What an authority offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AuthorityKind {
    /// A `cardhost-authority`: EST, challenges, verification, revocation.
    Cardhost,
    /// Any EST server: the daemon verifies by CRL, operators revoke.
    Est,
}

/// The client of another authority.
pub(super) fn other(other: &OtherAuthority) -> Result<Authority, StartError> {
    let kind = match other.kind {
        AuthorityKind::Cardhost => Kind::Cardhost,
        AuthorityKind::Est => Kind::ForeignEst(foreign::Config { crl: other.crl.clone() }),
    };
    Ok(Authority::new(Config {
        url: other.url.clone(),
        trusted: certificates(&other.trusted)?,
        identity: other.identity.as_ref().map(identity).transpose()?,
        basic: other.basic.as_ref().map(password).transpose()?,
        kind,
    })?)
}

/// The client of the embedded authority: both ends are certified by the host CA.
pub(super) fn embedded(pki: &Pki) -> Result<Authority, StartError> {
    let Identity { certificate, key, .. } = pki.host.client_identity("cardhost")?;
    Ok(Authority::new(Config {
        url: EMBEDDED.into(),
        trusted: vec![pki.host.der()],
        identity: Some((vec![certificate], key)),
        basic: None,
        kind: Kind::Cardhost,
    })?)
}

/// Certificate chain and key.
pub(super) fn identity(
    files: &TlsFiles,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), StartError> {
    let unreadable = |source| StartError::TlsFile { path: files.key.clone(), source };
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(unreadable)?;
    Ok((certificates(&files.certificate)?, key))
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    read.map_err(|source| StartError::TlsFile { path: path.clone(), source })
}

fn password((user, path): &(String, PathBuf)) -> Result<(String, Zeroizing<String>), StartError> {
    let unreadable = |source| StartError::PasswordFile { path: path.clone(), source };
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(unreadable)?);
    Ok((user.clone(), Zeroizing::new(text.trim_end().to_owned())))
}
