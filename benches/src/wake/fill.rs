//! Fills the store of a stopped daemon with parked cards, through the functions by which the daemon writes.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use cardhost::{
    anchor::{self, Guard, Settings, StateDigest},
    audit::{Audit, SigningKey},
    auth::name::Name,
    data_dir::DataDir,
    store::{
        Store,
        cards::{self, CardRecord, CardState, CommitOutcome},
        terminals::{Terminal, Terminals},
    },
};
use cardhost_vmm::launcher::{
    card_key::{self, Holder},
    host_keys::HostKeys,
};
use cardhost_wire::image_policy::ImagePolicy;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use tokio::task::{JoinHandle, spawn_blocking};

use super::made::{self, Made};

/// Cards that are made, then written together.
const GROUP: usize = 512;
/// Groups between two lines of progress.
const REPORTED: usize = 100;

/// A card in the store.
pub struct Registered {
    /// Its terminal.
    pub terminal: Name,
    /// The key of slot 9E: an uncompressed point.
    pub public_key: Vec<u8>,
}

/// Adds this many terminals of `owner`, each with a card.
pub async fn fill(data: &Path, owner: &str, count: usize) -> Result<Vec<Registered>> {
    let host = Host::open(data, owner.parse()?).await?;
    let mut registered = Vec::with_capacity(count);
    let mut next = make(names(0, count));
    for (group, first) in (0..count).step_by(GROUP).enumerate() {
        let made = next.await??;
        next = make(names(first + GROUP, count));
        registered
            .extend(try_join_all(made.into_iter().map(|(name, made)| host.register(name, made))).await?);
        if group % REPORTED == REPORTED - 1 {
            eprintln!("{} of {count} cards registered", registered.len());
        }
    }
    host.guard.anchor().close().await?;
    Ok(registered)
}

fn names(first: usize, count: usize) -> Vec<String> {
    (first..count.min(first + GROUP)).map(|number| format!("t-{number:07}")).collect()
}

/// Makes the cards of these terminals beside what else goes on.
fn make(names: Vec<String>) -> JoinHandle<Result<Vec<(Name, Made)>>> {
    spawn_blocking(move || names.into_iter().map(|name| with_card(name.parse()?)).collect())
}

fn with_card(terminal: Name) -> Result<(Name, Made)> {
    let made = made::make(terminal.sha256())?;
    Ok((terminal, made))
}

/// The parts of a daemon that write cards.
struct Host {
    store: Store,
    terminals: Terminals,
    guard: Guard,
    keys: HostKeys,
    owner: Name,
    // Last: locks the data against a daemon.
    _directory: DataDir,
}

impl Host {
    async fn open(data: &Path, owner: Name) -> Result<Self> {
        let directory = DataDir::open(data)?;
        let store = Store::open(&directory.database())?;
        let audit = Audit::new(SigningKey::open(&directory.signing_key())?);
        let settings = Settings { path: directory.anchor(), accept_new: false };
        let guard = anchor::open(settings, &store, &audit).await?;
        let keys = HostKeys::open(&directory.host_key())?;
        let terminals = Terminals::new(store.clone(), audit);
        Ok(Self { store, terminals, guard, keys, owner, _directory: directory })
    }

    async fn register(&self, name: Name, made: Made) -> Result<Registered> {
        let terminal = Terminal { name: name.clone(), owner: self.owner.clone() };
        self.terminals.put(self.owner.clone(), terminal).await?;
        let wrapped_key = self.wrap(&name, &made)?;
        let Made { card, atr, commits, public_key, .. } = made;
        let last = commits.last().context("a card that committed")?;
        let (epoch, digest) = (last.epoch, StateDigest::of(Some(&last.head)));
        let record = CardRecord {
            terminal: name.clone(),
            card,
            wrapped_key,
            measurement: cardhost_image::GUEST_SHA256,
            epoch: 0,
            head: None,
            atr: None,
            state: CardState::InUse,
            created_at: Timestamp::now(),
            revocations: None,
        };
        let written = self.store.write(move |transaction| {
            cards::insert(transaction, &record)?;
            for commit in &commits {
                let stored = cards::commit(transaction, &card, commit, None)?;
                if !matches!(stored, CommitOutcome::Stored { .. }) {
                    return Ok(false);
                }
            }
            cards::note_atr(transaction, &card, &atr)?;
            Ok(true)
        });
        ensure!(written.await?, "the store refuses a commit");
        self.guard.committed(card, epoch, digest);
        Ok(Registered { terminal: name, public_key })
    }

    fn wrap(&self, name: &Name, made: &Made) -> Result<Vec<u8>> {
        let holder = Holder { card: &made.card, owner: &name.sha256() };
        let policy = ImagePolicy::of_new_card(cardhost_image::GUEST_SHA256);
        Ok(card_key::wrap(&self.keys, holder, &policy, &made.card_key)?)
    }
}
