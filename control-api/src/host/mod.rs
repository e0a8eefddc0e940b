//! The daemon: puts its parts together, starts and ends them in order.

mod administrator;
mod authority;
mod config;
mod error;
mod guest_image;
mod names;
mod tls;

use std::{net::SocketAddr, sync::Arc};

use futures_util::future::join_all;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    anchor::{
        self, Anchor, AnchorError,
        tpm::{self, Witness},
    },
    audit::{Audit, SigningKey},
    auth::password::Passwords,
    authority::Authority,
    card::Cards,
    data_dir::{DataDir, write_private},
    http::{self, channel::Channels},
    launcher::{self, Launcher},
    lifecycle::LifeCycle,
    pki::Pki,
    server::{Limits, Server, server_config},
    store::{
        Store, devices::Devices, idempotency::Idempotency, sessions::Sessions, terminals::Terminals,
        users::Users,
    },
    telemetry::Metrics,
};

pub use administrator::{AdministratorFile, AdministratorFileError};
pub use authority::{AuthorityKind, OtherAuthority};
pub use config::{Config, TlsFiles};
pub use error::StartError;

use authority::Embedded;

/// CPU time of a guest for one exchange, milliseconds; generating an RSA-3072 key takes the longest.
const CPU_BUDGET_MS: u32 = 30_000;

/// Cards whose ends are awaited together.
const STOPPED_AT_A_TIME: usize = 256;

/// What the operations work on.
pub struct App {
    /// The store.
    pub store: Store,
    /// The anchor.
    pub anchor: Anchor,
    /// The audit log.
    pub audit: Audit,
    /// Cards.
    pub cards: Cards,
    /// The life cycle of certificates and cards.
    pub life_cycle: LifeCycle,
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
    reconciling: JoinHandle<()>,
    following: JoinHandle<()>,
    embedded: Option<Embedded>,
    cards: Cards,
    store: Store,
    anchor: Anchor,
    witness: Option<Arc<Witness>>,
    // Last: the lock on the data directory outlives everything that writes there.
    directory: Arc<DataDir>,
}

impl Host {
    /// Starts a daemon; when this returns it serves.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        if config.default_keys && !config.listen.ip().is_loopback() {
            return Err(StartError::DefaultKeysInPublic);
        }
        // First of all: what is found at the start is counted too.
        Metrics::install();
        let directory = Arc::new(DataDir::open(&config.data)?);
        let pki = Pki::open(&directory)?;
        let store = Store::open(&directory.database())?;
        let listener = listen(config.listen).await?;
        let address = listener.local_addr().map_err(|source| refused(config.listen, source))?;
        let url = names::url(address);
        let (chain, key, ca_pem) = tls::identity(&config, &pki)?;
        let server_tls = server_config(chain, key, pki.devices.der())?;
        let (end, ending) = watch::channel(false);
        let audit = audit(&directory)?;
        let launcher = launcher(&config, &directory)?;
        if config.host_key.tcti().is_some() {
            // A TPM that does not open the host's keys is told now, and not with the first card.
            launcher.ready().await?;
        }
        let settings = anchor_settings(&config, &directory);
        let witness = config.host_key.is_sealed().then(|| Arc::new(Witness::new(launcher.clone())));
        if let Some(witness) = &witness {
            witness.admit(&settings, &store, &audit).await?;
        }
        let guard = anchor::open(settings, &store, &audit).await?;
        let anchor = guard.anchor().clone();
        if let Some(witness) = &witness {
            witness.tell(&anchor).await?;
        }
        let cards = Cards::new(store.clone(), launcher, guard, config.cards);
        guest_image::try_out(&cards, config.guest_image.as_deref()).await?;
        let (embedded, authority) = authority(&config, &directory).await?;
        let (quotas, default_keys) = (config.quotas, config.default_keys);
        let life_cycle = LifeCycle::new(store.clone(), cards, authority, audit, quotas, default_keys);
        life_cycle.recall_revocations().await?;
        let app = Arc::new(app(store, anchor, life_cycle, pki, config.limits, ending.clone()));
        app.idempotency.forget_unanswered().await?;
        administrator::ensure(&app, &directory, &url, &ca_pem).await?;
        let (life_cycle, reconciling) = (app.life_cycle.clone(), ending.clone());
        let reconciling = tokio::spawn(async move { life_cycle.run(reconciling).await });
        let (life_cycle, following) = (app.life_cycle.clone(), ending.clone());
        let following = tokio::spawn(async move { life_cycle.follow_pairing(following).await });
        let (cards, parking) = (app.cards.clone(), ending.clone());
        tokio::spawn(async move { cards.park_by_policy(parking).await });
        let server = Server::new(listener, server_tls, http::router(&app), config.limits);
        let serving = tokio::spawn(server.serve(ending));
        let (cards, store, anchor) = (app.cards.clone(), app.store.clone(), app.anchor.clone());
        tokio::spawn(warm_up(cards.clone()));
        if let Some(witness) = witness.clone() {
            let (anchor, ending) = (anchor.clone(), app.end.clone());
            tokio::spawn(async move { witness.keep_telling(anchor, tpm::INTERVAL, ending).await });
        }
        Ok(Self {
            url,
            address,
            end,
            serving,
            reconciling,
            following,
            embedded,
            cards,
            store,
            anchor,
            witness,
            directory,
        })
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
        for task in [self.serving, self.reconciling, self.following] {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part of the daemon ended abnormally");
            }
        }
        if let Some(embedded) = self.embedded {
            embedded.stop().await;
        }
        stop_cards(&self.cards).await;
        if let Some(witness) = &self.witness
            && let Err(error) = witness.tell(&self.anchor).await
        {
            tracing::error!(%error, "the TPM's head of the anchor stays behind");
        }
        if let Err(error) = self.cards.end().await {
            tracing::error!(%error, "the launcher did not end in order");
        }
        if let Err(error) = close_anchor(&self.anchor, &self.store).await {
            tracing::error!(%error, "the anchor stays behind the store");
        }
    }
}

/// Starts the launcher ahead of the first card, and says early what keeps cards from running here, and how many another
/// guest image wrote last.
async fn warm_up(cards: Cards) {
    if let Err(error) = cards.ready().await {
        tracing::error!(%error, "no card can run");
    }
    match cards.count_of_other_images().await {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, policy = ?cards.adoption(), "cards are of other guest images"),
        Err(error) => tracing::error!(%error, "the cards of other guest images are not counted"),
    }
}

/// Ends every running microVM; each card's state is in the store already.
async fn stop_cards(cards: &Cards) {
    for some in cards.live().chunks(STOPPED_AT_A_TIME) {
        join_all(some.iter().map(|terminal| cards.stop(terminal))).await;
    }
}

/// Brings the anchor up to the store, and lets the store remember it.
async fn close_anchor(anchor: &Anchor, store: &Store) -> Result<(), AnchorError> {
    anchor.close().await?;
    let anchor = anchor.clone();
    Ok(store.write(move |transaction| anchor.remember(transaction)).await?)
}

fn anchor_settings(config: &Config, directory: &DataDir) -> anchor::Settings {
    let path = config.anchor.clone().unwrap_or_else(|| directory.anchor());
    anchor::Settings { path, accept_new: config.accept_new_anchor }
}

/// Opens the signing key and puts its public key beside it, for whoever verifies offline.
fn audit(directory: &DataDir) -> Result<Audit, StartError> {
    let key = SigningKey::open(&directory.signing_key())?;
    write_private(&directory.public_key(), hex::encode(key.public()).as_bytes())?;
    Ok(Audit::new(key))
}

fn launcher(config: &Config, directory: &DataDir) -> Result<Launcher, StartError> {
    let launcher = launcher::Config {
        image: guest_image::image(config.guest_image.as_deref())?,
        host_key: directory.host_key(),
        custody: config.host_key.clone(),
        card_users: config.card_users,
        isolation: config.isolation,
        control_group: config.control_group.clone(),
        cpu_budget_ms: CPU_BUDGET_MS,
        warm_pool: config.cards.warm_pool,
        default_keys: config.default_keys,
    };
    Ok(Launcher::new(launcher)?)
}

fn app(
    store: Store,
    anchor: Anchor,
    life_cycle: LifeCycle,
    pki: Pki,
    limits: Limits,
    end: watch::Receiver<bool>,
) -> App {
    let (audit, cards) = (life_cycle.audit().clone(), life_cycle.cards().clone());
    App {
        users: Users::new(store.clone(), audit.clone()),
        terminals: Terminals::new(store.clone(), audit.clone()),
        devices: Devices::new(store.clone(), audit.clone()),
        sessions: Sessions::new(store.clone()),
        idempotency: Idempotency::new(store.clone()),
        store,
        anchor,
        audit,
        cards,
        life_cycle,
        channels: Channels::default(),
        passwords: Passwords::new(),
        pki,
        limits,
        metrics: Metrics::install(),
        end,
    }
}

/// The authority's client, and the authority itself if it is the embedded one.
async fn authority(
    config: &Config,
    directory: &DataDir,
) -> Result<(Option<Embedded>, Authority), StartError> {
    match &config.authority {
        Some(other) => Ok((None, authority::other(other)?)),
        None => Embedded::start(directory).await.map(|(embedded, client)| (Some(embedded), client)),
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| refused(address, source))
}

fn refused(address: SocketAddr, source: std::io::Error) -> StartError {
    StartError::Listen { address, source }
}
