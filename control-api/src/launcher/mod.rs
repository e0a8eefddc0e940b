//! The launcher's client: starts `cardhost-vmm` and asks it for microVMs ([`cardhost_wire::launch`]).
//!
//! ```text
//!          first use, or next use after it died
//! absent ─────────────────────────────────────▶ serving ──socket closed──▶ absent
//!   ▲ pause after a failed start                   every card it ran is gone, pending starts fail
//! ```
//!
//! The program runs from a sealed memfd, so that what runs is what this daemon was built with.

mod layers;
mod process;
mod supervisor;

use std::{borrow::Cow, io, os::fd::OwnedFd, path::PathBuf, sync::Arc};

use cardhost_wire::{
    control::CardId,
    custody::{Custody, Kept, KeptReply, KeptRequest},
    launch::{self, Isolation, UserIds},
    layers::Layer,
    wrapping::{ImageStep, KeyFault, KeyReply, KeyRequest, WrappedCard},
};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, mpsc, oneshot};

/// Orders that may wait for the launcher.
const QUEUE: usize = 256;

/// The guest image and the microVM program.
#[derive(Clone, Debug)]
pub struct Image {
    /// The guest, ELF.
    pub guest: Cow<'static, [u8]>,
    /// Its SHA-256.
    pub guest_sha256: [u8; 32],
    /// The microVM program, ELF.
    pub vmm: &'static [u8],
}

impl Image {
    /// What this daemon was built with.
    pub const fn embedded() -> Self {
        Self {
            guest: Cow::Borrowed(cardhost_image::GUEST),
            guest_sha256: cardhost_image::GUEST_SHA256,
            vmm: cardhost_image::VMM,
        }
    }
}

/// What the launcher is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// What it runs.
    pub image: Image,
    /// The file of the host's wrapping keys; only the launcher opens it.
    pub host_key: PathBuf,
    /// Where the keys are kept that are in it.
    pub custody: Custody,
    /// Whom cards' processes become, where the launcher may make them somebody else.
    pub card_users: UserIds,
    /// What keeps cards apart.
    pub isolation: Isolation,
    /// The parent of the cards' control groups; without it cards have none.
    pub control_group: Option<PathBuf>,
    /// CPU time a guest may use for one exchange, milliseconds.
    pub cpu_budget_ms: u32,
    /// Processes that wait for their card.
    pub warm_pool: u16,
    /// Development only: new cards are born with the well-known PIN, PUK and keys.
    pub default_keys: bool,
}

/// Why a microVM was not started.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LauncherError {
    /// The launcher says that it cannot work at all, for example without `/dev/kvm`.
    #[error("card microVMs cannot run: {0}")]
    Unusable(String),
    /// The operating system does not start the launcher.
    #[error("the launcher does not start")]
    Spawn(#[source] Arc<io::Error>),
    /// The launcher ended, or said nothing in time.
    #[error("the launcher ended")]
    Died,
    /// The launcher broke the protocol.
    #[error("the launcher sent a malformed message")]
    Protocol,
    /// The launcher did not start this card.
    #[error("the launcher refused the card: {0:?}")]
    Refused(launch::Refusal),
    /// The card's link did not arrive.
    #[error("the daemon has no room for one more descriptor (RLIMIT_NOFILE)")]
    NoLink,
    /// The launcher did not change the wrapping keys.
    #[error("the launcher did not change the wrapping keys: {0:?}")]
    Keys(KeyFault),
    /// The TPM does not keep what it is asked to, or does not tell it.
    #[error("the TPM: {0}")]
    Tpm(String),
    /// The daemon is ending, or too many starts wait.
    #[error("no more cards are started")]
    Closed,
}

/// How a microVM ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its process ended by itself with this code.
    Exit(i32),
    /// This signal ended it.
    Signal(i32),
    /// The launcher ended, and the process with it.
    LauncherDied,
}

/// What is to be started.
#[derive(Debug)]
pub struct CardStart {
    /// The card.
    pub card: CardId,
    /// SHA-256 of the terminal's name.
    pub owner: [u8; 32],
    /// The card's wrapped key; `None` makes one.
    pub wrapped_key: Option<Vec<u8>>,
    /// SHA-256 of the image that the card was made with, for a wrapped key that does not say it itself.
    pub image: [u8; 32],
    /// The launcher's image may have the key though the card's policy does not allow it yet.
    pub adopt: bool,
}

/// A microVM that has been started.
#[derive(Debug)]
pub struct Started {
    /// It runs.
    pub instance: Instance,
    /// The daemon's end of its link.
    pub link: OwnedFd,
}

/// A running microVM. Dropping it ends the process.
#[derive(Debug)]
pub struct Instance {
    number: u64,
    /// The process.
    pub pid: u32,
    /// The card's wrapped key as the launcher gave it: of a new card to be stored before the card is used.
    pub wrapped_key: Vec<u8>,
    ended: oneshot::Receiver<Ending>,
    orders: mpsc::Sender<Order>,
}

impl Instance {
    /// Ends the process and waits until it is gone.
    pub async fn kill(mut self) -> Ending {
        drop(self.orders.send(Order::Kill(self.number)).await);
        self.ended().await
    }

    /// Waits until the process is gone.
    pub async fn ended(&mut self) -> Ending {
        (&mut self.ended).await.unwrap_or(Ending::LauncherDied)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // A full queue means a launcher that hangs; then its end ends the process.
        drop(self.orders.try_send(Order::Kill(self.number)));
    }
}

enum Order {
    Ready(oneshot::Sender<Result<Arc<[Layer]>, LauncherError>>),
    Start(CardStart, oneshot::Sender<Result<Started, LauncherError>>),
    Keys(KeyRequest, oneshot::Sender<Result<KeyReply, LauncherError>>),
    Kept(KeptRequest, oneshot::Sender<Result<KeptReply, LauncherError>>),
    Kill(u64),
    End(oneshot::Sender<Result<(), LauncherError>>),
}

/// A handle of the launcher. When the last one is gone the launcher and its cards end.
#[derive(Clone)]
pub struct Launcher {
    orders: mpsc::Sender<Order>,
    measurement: [u8; 32],
    isolation: Isolation,
    /// Shared by those who have a key wrapped and have yet to store it.
    unstored: Arc<RwLock<()>>,
}

impl Launcher {
    /// Makes the client; the program itself is started at first use. Must be called in a tokio runtime.
    pub fn new(config: Config) -> Result<Self, LauncherError> {
        let (measurement, isolation) = (config.image.guest_sha256, config.isolation);
        let program = process::Program::new(config).map_err(|error| LauncherError::Spawn(Arc::new(error)))?;
        let (orders, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(supervisor::supervise(program, orders.downgrade(), waiting));
        Ok(Self { orders, measurement, isolation, unstored: Arc::default() })
    }

    /// SHA-256 of the guest image that cards run.
    pub const fn measurement(&self) -> [u8; 32] {
        self.measurement
    }

    /// What keeps the cards apart from the host and from each other.
    pub const fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// Makes sure that the launcher runs and accepts starts; which layers it has between its cards and the host.
    pub async fn ready(&self) -> Result<Arc<[Layer]>, LauncherError> {
        self.ask(Order::Ready).await
    }

    /// Starts a card.
    pub async fn start(&self, start: CardStart) -> Result<Started, LauncherError> {
        self.ask(|answer| Order::Start(start, answer)).await
    }

    /// Asks about the wrapping keys.
    pub async fn keys(&self, request: KeyRequest) -> Result<KeyReply, LauncherError> {
        match self.ask(|answer| Order::Keys(request, answer)).await? {
            KeyReply::Failed(fault) => Err(LauncherError::Keys(fault)),
            reply => Ok(reply),
        }
    }

    /// Takes a step of a card's image policy with the image that cards run; the key is to take the place of the given.
    pub async fn step(&self, card: WrappedCard, step: ImageStep) -> Result<Vec<u8>, LauncherError> {
        match self.keys(KeyRequest::Image(card, step)).await? {
            KeyReply::Stepped(wrapped_key) => Ok(wrapped_key),
            _ => Err(LauncherError::Protocol),
        }
    }

    /// What the TPM keeps for the daemon, `None` before the first.
    pub async fn kept(&self) -> Result<Option<Kept>, LauncherError> {
        match self.ask(|answer| Order::Kept(KeptRequest::Find, answer)).await? {
            KeptReply::Found(kept) => Ok(kept),
            KeptReply::Failed(why) => Err(LauncherError::Tpm(why)),
            KeptReply::Put => Err(LauncherError::Protocol),
        }
    }

    /// Has the TPM keep this, durably.
    pub async fn keep(&self, kept: Kept) -> Result<(), LauncherError> {
        match self.ask(|answer| Order::Kept(KeptRequest::Put(kept), answer)).await? {
            KeptReply::Put => Ok(()),
            KeptReply::Failed(why) => Err(LauncherError::Tpm(why)),
            KeptReply::Found(_) => Err(LauncherError::Protocol),
        }
    }

    /// To be held from before a new card's start until its wrapped key is in the store: a rotation would not find it
    /// before, and destroy what it is wrapped under.
    pub async fn unstored_key(&self) -> OwnedRwLockReadGuard<()> {
        self.unstored.clone().read_owned().await
    }

    /// Waits until every wrapped key is in the store; no new card is started meanwhile.
    pub async fn all_keys_stored(&self) -> OwnedRwLockWriteGuard<()> {
        self.unstored.clone().write_owned().await
    }

    /// Ends the launcher, which takes down what it has made: processes and their control groups.
    pub async fn end(&self) -> Result<(), LauncherError> {
        self.ask(Order::End).await
    }

    async fn ask<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<T, LauncherError>>) -> Order,
    ) -> Result<T, LauncherError> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(order(answer)).await.map_err(|_| LauncherError::Closed)?;
        answered.await.map_err(|_| LauncherError::Died)?
    }
}
