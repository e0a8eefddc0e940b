//! A step of a card's image policy against rotations at its worst moments, with a real launcher.

use std::fs::OpenOptions;

use cardhost_wire::{
    control::CardId,
    custody::Custody,
    launch::{Isolation, UserIds},
    wrapping::{Bucket, KeyReply, KeyRequest},
};
use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::launcher::{CardStart, Config, Image};

const CARD: CardId = [7; 16];
const BUCKET: Bucket = Bucket(7);

struct Scene {
    store: Store,
    launcher: Launcher,
    _directory: TempDir,
}

fn till() -> Name {
    "till-7".parse().unwrap()
}

fn launcher(directory: &TempDir) -> Launcher {
    let kvm = OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    let config = Config {
        image: Image::embedded(),
        host_key: directory.path().join("host.key"),
        custody: Custody::File,
        card_users: UserIds::DEFAULT,
        isolation: if kvm { Isolation::MicroVm } else { Isolation::Process },
        control_group: None,
        cpu_budget_ms: 10_000,
        warm_pool: 0,
        default_keys: false,
    };
    Launcher::new(config).unwrap()
}

impl Scene {
    /// A card with a key of its own, which is not started again.
    async fn set() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, launcher) =
            (Store::open(&directory.path().join("store.db")).unwrap(), launcher(&directory));
        let image = launcher.measurement();
        let start = CardStart { card: CARD, owner: till().sha256(), wrapped_key: None, image, adopt: false };
        let wrapped_key = launcher.start(start).await.unwrap().instance.wrapped_key.clone();
        let record = CardRecord {
            terminal: till(),
            card: CARD,
            wrapped_key,
            measurement: image,
            epoch: 0,
            head: None,
            atr: None,
            state: CardState::InUse,
            created_at: Timestamp::UNIX_EPOCH,
            revocations: None,
        };
        let insert = move |transaction: &Transaction<'_>| {
            transaction.execute("INSERT INTO users VALUES ('jane', 'user', 'hash')", [])?;
            transaction.execute("INSERT INTO terminals VALUES ('till-7', 'jane')", [])?;
            cards::insert(transaction, &record)
        };
        store.write(insert).await.unwrap();
        Self { store, launcher, _directory: directory }
    }

    async fn card(&self) -> CardRecord {
        present(&self.store, &till()).await.unwrap()
    }

    async fn attempt(&self, card: &CardRecord) -> Result<Option<()>, CardError> {
        let write = |transaction: &Transaction<'_>, card: &CardRecord, key: &Replacement| {
            wrapped_keys::settle(transaction, key, &card.measurement)
        };
        attempt(&self.store, &self.launcher, card.clone(), ImageStep::Settle, write).await
    }

    /// The rotation's first half: the card's key stands under a new wrapping key, the earlier one still opens.
    async fn carry_over(&self) {
        self.launcher.keys(KeyRequest::Rotate(vec![BUCKET])).await.unwrap();
        let card = self.card().await;
        let KeyReply::Rewrapped(anew) =
            self.launcher.keys(KeyRequest::Rewrap(vec![card.wrapped()])).await.unwrap()
        else {
            panic!("it is asked for")
        };
        self.put(card.wrapped_key, anew[0].clone().unwrap()).await;
    }

    async fn put(&self, earlier: Vec<u8>, later: Vec<u8>) {
        let key = Replacement { card: CARD, earlier, later };
        assert!(self.store.write(move |transaction| wrapped_keys::replace(transaction, &key)).await.unwrap());
    }
}

#[tokio::test]
async fn a_key_made_from_another_than_the_stored_one_is_never_stored() {
    let scene = Scene::set().await;
    let read = scene.card().await;
    scene.carry_over().await;
    let carried = scene.card().await;
    assert_eq!(scene.attempt(&read).await.unwrap(), None, "it opens still, and is not what stands there");
    assert_eq!(scene.card().await, carried);
    scene.launcher.keys(KeyRequest::Retire(vec![BUCKET])).await.unwrap();
    assert_eq!(scene.attempt(&read).await.unwrap(), None, "it opens no more, and another one stands there");
    assert_eq!(scene.card().await, carried);
    assert_eq!(scene.attempt(&carried).await.unwrap(), Some(()));
    let settled = scene.card().await;
    assert_ne!(settled.wrapped_key, carried.wrapped_key);
    assert_eq!(scene.attempt(&carried).await.unwrap(), None, "the settled one is not replaced either");
    assert_eq!(scene.card().await, settled);
}

#[tokio::test]
async fn a_stored_key_that_does_not_open_ends_the_step() {
    let scene = Scene::set().await;
    let read = scene.card().await;
    scene.carry_over().await;
    scene.launcher.keys(KeyRequest::Retire(vec![BUCKET])).await.unwrap();
    scene.put(scene.card().await.wrapped_key, read.wrapped_key.clone()).await;
    let write = |_: &Transaction<'_>, _: &CardRecord, _: &Replacement| -> rusqlite::Result<()> {
        unreachable!("there is nothing to store")
    };
    let closed = step(&scene.store, &scene.launcher, &till(), ImageStep::Allow, write).await;
    assert!(matches!(closed, Err(CardError::Launcher(LauncherError::Keys(KeyFault::NotOurs)))), "{closed:?}");
    assert_eq!(scene.card().await.wrapped_key, read.wrapped_key);
}
