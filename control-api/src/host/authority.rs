//! Which authority the daemon works with, and as whom.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::{sync::oneshot, task::JoinHandle};
use zeroize::Zeroizing;

use super::{StartError, TlsFiles};
use crate::{
    authority::{Authority, Config, Kind, foreign},
    data_dir::DataDir,
};

/// Where the embedded authority serves: only this host reaches it.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

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

/// The embedded authority: it serves on a loopback port of its own and is used like any other.
pub(super) struct Embedded {
    end: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Embedded {
    /// Opens the authority in the data directory, serves it, and makes the daemon's client with a fresh credential.
    pub(super) async fn start(directory: &DataDir) -> Result<(Self, Authority), StartError> {
        let authority = Arc::new(cardhost_authority::Authority::open(&directory.authority())?);
        let listener = super::listen(SocketAddr::new(LOOPBACK, 0)).await?;
        let address = listener.local_addr().map_err(|source| super::refused((LOOPBACK, 0).into(), source))?;
        let tls = authority.server_tls(&[LOOPBACK])?;
        let credential = authority.host_credential("cardhost")?;
        let client = Authority::new(Config {
            url: format!("https://{address}"),
            trusted: vec![authority.service_certificate().clone()],
            identity: Some((vec![credential.certificate], credential.key)),
            basic: None,
            kind: Kind::Cardhost,
        })?;
        let (end, ended) = oneshot::channel();
        let ended = async move { drop(ended.await) };
        let serving = tokio::spawn(cardhost_authority::serve(authority, listener, tls, ended));
        Ok((Self { end, serving }, client))
    }

    /// Ends it once its requests are answered.
    pub(super) async fn stop(self) {
        drop(self.end);
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the embedded authority ended abnormally");
        }
    }
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
