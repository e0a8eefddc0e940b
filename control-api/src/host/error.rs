//! Why a daemon does not start.

use std::{net::SocketAddr, path::PathBuf};

use super::AdministratorFileError;
use crate::{
    anchor::AnchorError, audit::SigningKeyError, authority::AuthorityConfigError, data_dir::DataDirError,
    launcher::LauncherError, pki::PkiError, server::TlsError, store::StoreError,
};

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The public key infrastructure.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key that signs receipts and audit heads.
    #[error(transparent)]
    SigningKey(#[from] SigningKeyError),
    /// The anchor.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The launcher.
    #[error(transparent)]
    Launcher(#[from] LauncherError),
    /// An operator's guest image.
    #[error("cannot read the guest image {path}")]
    GuestImageFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An operator's guest image does not run.
    #[error("the guest image {path} does not run here")]
    GuestImage {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: LauncherError,
    },
    /// The administrator's file.
    #[error(transparent)]
    Administrator(#[from] AdministratorFileError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The authority's client.
    #[error(transparent)]
    Authority(#[from] AuthorityConfigError),
    /// The embedded authority.
    #[error(transparent)]
    EmbeddedAuthority(#[from] cardhost_authority::OpenError),
    /// The embedded authority's credential for this daemon.
    #[error("the embedded authority's credential")]
    EmbeddedCredential(#[from] cardhost_authority::CaError),
    /// The embedded authority's TLS.
    #[error("the embedded authority's TLS")]
    EmbeddedTls(#[from] cardhost_authority::TlsError),
    /// The file of the password for the authority.
    #[error("cannot read {path}")]
    PasswordFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file of the operator's TLS identity.
    #[error("cannot read {path} as PEM")]
    TlsFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Well-known keys on an address that others can reach.
    #[error(
        "--default-keys makes cards with well-known keys: it is refused unless --listen is a loopback address"
    )]
    DefaultKeysInPublic,
}
