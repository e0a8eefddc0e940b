//! The daemon: puts its parts together, starts and ends them in order.

mod administrator;
mod names;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    audit::{Audit, SigningKey, SigningKeyError},
    auth::password::Passwords,
    card::Cards,
    data_dir::{DataDir, DataDirError, write_private},
    http::{self, channel::Channels},
    launcher::{self, Image, Launcher, LauncherError},
    pki::{Pki, PkiError},
    server::{Limits, Server, TlsError, server_config},
    store::{
        Store, StoreError, devices::Devices, idempotency::Idempotency, sessions::Sessions,
        terminals::Terminals, users::Users,
    },
    telemetry::Metrics,
};

pub use administrator::{AdministratorFile, AdministratorFileError};

/// CPU time of a guest for one exchange, milliseconds; generating an RSA-3072 key takes the longest.
const CPU_BUDGET_MS: u32 = 30_000;

/// What operators decide about a daemon.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data directory.
    pub data: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The operator's own TLS identity instead of the host CA's.
    pub tls: Option<TlsFiles>,
    /// Development only: new cards have the well-known PIN and keys. Refused with a public listener.
    pub default_keys: bool,
    /// Bounds of the server.
    pub limits: Limits,
}

/// Files of an operator's own TLS identity.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Certificate chain, PEM, the server's first.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
}

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
    /// The launcher.
    #[error(transparent)]
    Launcher(#[from] LauncherError),
    /// The administrator's file.
    #[error(transparent)]
    Administrator(#[from] AdministratorFileError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
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

/// What the operations work on.
pub struct App {
    /// The store.
    pub store: Store,
    /// The audit log.
    pub audit: Audit,
    /// Cards.
    pub cards: Cards,
    /// Open channels.
    pub channels: Channels,
    /// The authorised users.
    pub users: Users,
    /// Terminals.
    pub terminals: Terminals,
    /// Their devices.
    pub devices: Devices,
    /// Sessions.
    pub sessions: Sessions,
    /// Answers by idempotency key.
    pub idempotency: Idempotency,
    /// Password hashing.
    pub passwords: Passwords,
    /// The host's public key infrastructure.
    pub pki: Pki,
    /// Bounds of the server.
    pub limits: Limits,
    /// Prometheus figures.
    pub metrics: Metrics,
    /// Turns true when the daemon ends.
    pub end: watch::Receiver<bool>,
}

/// A daemon that serves.
pub struct Host {
    url: String,
    address: SocketAddr,
    end: watch::Sender<bool>,
    serving: JoinHandle<()>,
    // Last: the lock on the data directory outlives everything that writes there.
    directory: Arc<DataDir>,
}

impl Host {
    /// Starts a daemon; when this returns it serves.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        if config.default_keys && !config.listen.ip().is_loopback() {
            return Err(StartError::DefaultKeysInPublic);
        }
        let directory = Arc::new(DataDir::open(&config.data)?);
        let pki = Pki::open(&directory)?;
        let store = Store::open(&directory.database())?;
        let listener = listen(config.listen).await?;
        let address = listener.local_addr().map_err(|source| refused(config.listen, source))?;
        let url = names::url(address);
        let (chain, key, ca_pem) = identity(&config, &pki)?;
        let tls = server_config(chain, key, pki.devices.der())?;
        let (end, ending) = watch::channel(false);
        let audit = audit(&directory)?;
        let cards = Cards::new(store.clone(), launcher(&config, &directory)?);
        let app = Arc::new(app(store, audit, cards, pki, config.limits, ending.clone()));
        app.idempotency.forget_unanswered().await?;
        administrator::ensure(&app, &directory, &url, &ca_pem).await?;
        let server = Server::new(listener, tls, http::router(&app), config.limits);
        let serving = tokio::spawn(server.serve(ending));
        Ok(Self { url, address, end, serving, directory })
    }

    /// Where it serves, for example `https://127.0.0.1:8443`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its data directory.
    pub fn directory(&self) -> &DataDir {
        &self.directory
    }

    /// Stops accepting, lets requests under way finish, ends the cards.
    pub async fn stop(self) {
        self.end.send_replace(true);
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the server ended abnormally");
        }
    }
}

/// Opens the signing key and puts its public key beside it, for whoever verifies offline.
fn audit(directory: &DataDir) -> Result<Audit, StartError> {
    let key = SigningKey::open(&directory.signing_key())?;
    write_private(&directory.public_key(), hex::encode(key.public()).as_bytes())?;
    Ok(Audit::new(key))
}

fn launcher(config: &Config, directory: &DataDir) -> Result<Launcher, LauncherError> {
    use cardhost_image::{GUEST, GUEST_SHA256, VMM};
    Launcher::new(launcher::Config {
        image: Image { guest: GUEST, guest_sha256: GUEST_SHA256, vmm: VMM },
        host_key: directory.host_key(),
        cpu_budget_ms: CPU_BUDGET_MS,
        default_keys: config.default_keys,
    })
}

fn app(
    store: Store,
    audit: Audit,
    cards: Cards,
    pki: Pki,
    limits: Limits,
    end: watch::Receiver<bool>,
) -> App {
    App {
        users: Users::new(store.clone(), audit.clone()),
        terminals: Terminals::new(store.clone(), audit.clone()),
        devices: Devices::new(store.clone(), audit.clone()),
        sessions: Sessions::new(store.clone()),
        idempotency: Idempotency::new(store.clone()),
        store,
        audit,
        cards,
        channels: Channels::default(),
        passwords: Passwords::new(),
        pki,
        limits,
        metrics: Metrics::install(),
        end,
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| refused(address, source))
}

fn refused(address: SocketAddr, source: std::io::Error) -> StartError {
    StartError::Listen { address, source }
}

type TlsIdentity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, String);

/// Chain, key, and the PEM that a client has to trust.
fn identity(config: &Config, pki: &Pki) -> Result<TlsIdentity, StartError> {
    match &config.tls {
        Some(files) => operator_identity(files),
        None => {
            let identity = pki.host.server_identity(&names::subject_alt_names(config.listen.ip()))?;
            Ok((vec![identity.certificate], identity.key, pki.host.pem().into()))
        }
    }
}

fn operator_identity(files: &TlsFiles) -> Result<TlsIdentity, StartError> {
    let unreadable = |path: &PathBuf| {
        let path = path.clone();
        move |source| StartError::TlsFile { path, source }
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(unreadable(&files.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(unreadable(&files.key))?;
    let pem = std::fs::read_to_string(&files.certificate)
        .map_err(|error| unreadable(&files.certificate)(rustls_pki_types::pem::Error::Io(error)))?;
    Ok((chain, key, pem))
}
