//! Cards in real microVMs, without the network around them.

#[path = "cards/adoption.rs"]
mod adoption;
mod isolation;
#[path = "cards/park.rs"]
mod park;
#[path = "cards/policy.rs"]
mod policy;

use std::{path::Path, sync::Arc, time::Duration};

use cardhost::{
    anchor,
    audit::{Audit, SigningKey},
    card::{CardError, Cards, Presence, Settings},
    launcher::{Config, Image, Launcher},
    store::Store,
};
use cardhost_wire::{
    control::{Answer, Command, Failure},
    custody::Custody,
    key::{Algorithm, KeyReference},
    launch::UserIds,
    port::Protocol,
};
use isolation::isolation;
use zeroize::Zeroizing;

const LIMIT: Duration = Duration::from_secs(10);
const SELECT_PIV: &[u8] = &[0x00, 0xA4, 0x04, 0x00, 0x05, 0xA0, 0x00, 0x00, 0x03, 0x08, 0x00];

struct World {
    cards: Cards,
    store: Store,
    directory: tempfile::TempDir,
}

async fn world() -> World {
    world_with(Settings::default()).await
}

async fn world_with(settings: Settings) -> World {
    let world = world_in(tempfile::tempdir().unwrap(), Image::embedded(), settings).await;
    world.store.write(terminals).await.unwrap();
    world
}

/// The world whose data are in this directory, under this guest image.
async fn world_in(directory: tempfile::TempDir, image: Image, settings: Settings) -> World {
    let store = Store::open(&directory.path().join("store.db")).unwrap();
    let launcher = launcher(directory.path(), image);
    launcher.ready().await.expect("cards can run here");
    let anchor = anchor::Settings { path: directory.path().join("anchor"), accept_new: false };
    let audit = Audit::new(SigningKey::open(&directory.path().join("audit.key")).unwrap());
    let guard = anchor::open(anchor, &store, &audit).await.unwrap();
    World { cards: Cards::new(store.clone(), launcher, guard, settings), store, directory }
}

fn launcher(directory: &Path, image: Image) -> Launcher {
    let host_key = directory.join("host.key");
    Launcher::new(Config {
        image,
        host_key,
        card_users: UserIds::DEFAULT,
        isolation: isolation(),
        control_group: None,
        custody: Custody::File,
        cpu_budget_ms: 10_000,
        warm_pool: 1,
        default_keys: false,
    })
    .unwrap()
}

fn terminals(transaction: &rusqlite::Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute("INSERT INTO users VALUES ('jane', 'user', 'hash')", [])?;
    for terminal in ["till-7", "till-8", "till-9"] {
        transaction.execute("INSERT INTO terminals VALUES (?1, 'jane')", [terminal])?;
    }
    Ok(())
}

fn till() -> cardhost::auth::name::Name {
    "till-7".parse().unwrap()
}

impl World {
    async fn with_key() -> Self {
        let world = world().await;
        world.cards.create(&till()).await.unwrap();
        let personalise = Command::Personalise { pin: None, puk: None, management_key: None };
        world.ask(personalise).await.unwrap();
        world.generate(KeyReference::CARD_AUTHENTICATION).await.unwrap();
        world
    }

    async fn ask(&self, command: Command) -> Result<Answer, CardError> {
        self.cards.command(&till(), command, None).await
    }

    async fn generate(&self, key_reference: KeyReference) -> Result<Answer, CardError> {
        // CN=till-7
        let subject = hex::decode("3011310f300d06035504030c0674696c6c2d37").unwrap();
        self.ask(Command::GenerateKey { key_reference, algorithm: Algorithm::P256, subject }).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_is_made_answers_and_wakes_from_its_stored_state() {
    let world = World::with_key().await;
    let mut channel = world.cards.open(&till(), Protocol::ApduGate).await.unwrap();
    let response = channel.exchange(Zeroizing::new(SELECT_PIV.into()), LIMIT).await.unwrap();
    assert!(response.ends_with(&[0x90, 0x00]), "{response:02x?}");
    let before = world.cards.status(&till()).await.unwrap().unwrap();
    assert!(before.pid.is_some() && before.memory_kib.is_some() && before.credentials == 1);

    world.cards.stop(&till()).await;
    assert_eq!(world.cards.status(&till()).await.unwrap().unwrap().pid, None);
    let again = world.generate(KeyReference::CARD_AUTHENTICATION).await;
    assert!(matches!(again, Err(CardError::Declined(Failure::SlotOccupied))), "{again:?}");
    let response = channel.exchange(Zeroizing::new(SELECT_PIV.into()), LIMIT).await.unwrap();
    assert!(response.ends_with(&[0x90, 0x00]));
    assert_ne!(world.cards.status(&till()).await.unwrap().unwrap().pid, before.pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_card_is_a_reset_to_its_channel_and_lives_on() {
    let world = World::with_key().await;
    let mut channel = world.cards.open(&till(), Protocol::Iso7816T1).await.unwrap();
    channel.power_on().await.unwrap();
    let mut presence = channel.presence();
    presence.mark_unchanged();
    let pid = world.cards.status(&till()).await.unwrap().unwrap().pid.unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    presence.changed().await.unwrap();
    assert!(matches!(&*presence.borrow(), Presence::Present { reset: 1, .. }));
    channel.exchange(Zeroizing::new(SELECT_PIV.into()), LIMIT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_first_uses_start_one_microvm() {
    let world = World::with_key().await;
    world.cards.stop(&till()).await;
    let cards = Arc::new(world.cards.clone());
    let wakes = (0..16).map(|_| {
        let cards = cards.clone();
        tokio::spawn(async move {
            cards.wake(&till()).await.unwrap();
            cards.status(&till()).await.unwrap().unwrap().pid.unwrap()
        })
    });
    let mut pids = std::collections::HashSet::new();
    for wake in wakes.collect::<Vec<_>>() {
        pids.insert(wake.await.unwrap());
    }
    assert_eq!(pids.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_channel_per_protocol_and_none_without_a_card() {
    let world = world().await;
    let mut first = world.cards.open(&till(), Protocol::ApduGate).await.unwrap();
    let second = world.cards.open(&till(), Protocol::ApduGate).await;
    assert!(matches!(second, Err(CardError::ChannelInUse)));
    assert!(world.cards.open(&till(), Protocol::Spi).await.is_ok());
    assert!(matches!(&*first.presence().borrow(), Presence::Absent { .. }));
    let response = first.exchange(Zeroizing::new(SELECT_PIV.into()), LIMIT).await;
    assert!(matches!(response, Err(CardError::Absent)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_ends_with_its_last_credential_after_the_answer() {
    let world = World::with_key().await;
    let ended = world.cards.ended();
    let deleted = world.ask(Command::DeleteCredential(KeyReference::CARD_AUTHENTICATION)).await;
    assert!(matches!(deleted, Ok(Answer::Done)), "{deleted:?}");
    ended.await;
    let ending = world.store.read(cardhost::store::cards::ending).await.unwrap();
    assert_eq!(ending.len(), 1);
    assert!(matches!(world.cards.wake(&till()).await, Err(CardError::Absent)));
}

#[tokio::test(flavor = "multi_thread")]
async fn state_of_another_epoch_is_refused() {
    let world = World::with_key().await;
    world.cards.stop(&till()).await;
    let roll_back =
        "UPDATE records SET sealed = zeroblob(length(sealed)) WHERE id = (SELECT max(id) FROM records)";
    world.store.write(move |transaction| transaction.execute(roll_back, [])).await.unwrap();
    assert!(matches!(world.cards.wake(&till()).await, Err(CardError::Refused(_))));
    assert!(world.cards.status(&till()).await.unwrap().unwrap().refused.is_some());
}
