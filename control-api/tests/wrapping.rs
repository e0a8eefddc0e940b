//! Rotations of the wrapping keys beside cards in real microVMs, and what the host can still open afterwards. The
//! formats are read here by code of their own.

use std::path::{Path, PathBuf};

use aes_gcm_siv::{
    Aes256GcmSiv, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use cardhost::{
    anchor,
    audit::{Audit, SigningKey},
    auth::name::Name,
    card::{CardError, Cards, Settings},
    launcher::{Config, Image, Launcher, LauncherError},
    store::{
        Store,
        cards::{self, CardRecord},
    },
    wrapping::WrappingKeys,
};
use cardhost_wire::{
    custody::Custody,
    launch::{Isolation, Refusal, UserIds},
    wrapping::{Bucket, WrappingKey},
};
use tempfile::TempDir;

/// Where the buckets begin in the host key's file, and how long each is.
const BUCKETS: (usize, usize) = (96, 72);

struct World {
    cards: Cards,
    keys: WrappingKeys,
    store: Store,
    directory: TempDir,
}

impl World {
    async fn new(terminals: usize) -> Self {
        Self::in_directory(tempfile::tempdir().unwrap(), terminals).await
    }

    async fn in_directory(directory: TempDir, terminals: usize) -> Self {
        let store = Store::open(&directory.path().join("store.db")).unwrap();
        store.write(move |transaction| insert_terminals(transaction, terminals)).await.unwrap();
        let launcher = launcher(directory.path());
        launcher.ready().await.expect("these tests need /dev/kvm");
        let keys = WrappingKeys::new(store.clone(), launcher.clone());
        let settings = anchor::Settings { path: directory.path().join("anchor"), accept_new: false };
        let audit = Audit::new(SigningKey::open(&directory.path().join("audit.key")).unwrap());
        let guard = anchor::open(settings, &store, &audit).await.unwrap();
        Self {
            cards: Cards::new(store.clone(), launcher, guard, Settings::default()),
            keys,
            store,
            directory,
        }
    }

    fn host_key(&self) -> PathBuf {
        self.directory.path().join("host.key")
    }

    async fn card(&self, terminal: &Name) -> CardRecord {
        let terminal = terminal.clone();
        self.store.read(move |connection| cards::find(connection, &terminal)).await.unwrap().unwrap()
    }

    /// Puts a wrapped key back, as who has an older copy of the store would.
    async fn put_back(&self, card: &CardRecord) {
        let (card, wrapped) = (card.card, card.wrapped_key.clone());
        let sql = "UPDATE cards SET wrapped_key = ?2 WHERE card = ?1";
        self.store.write(move |transaction| transaction.execute(sql, (card, wrapped))).await.unwrap();
    }

    async fn restarts(&self, terminal: &Name) -> Result<(), CardError> {
        self.cards.stop(terminal).await;
        self.cards.wake(terminal).await.map(drop)
    }
}

fn launcher(directory: &Path) -> Launcher {
    let config = Config {
        image: Image::embedded(),
        host_key: directory.join("host.key"),
        custody: Custody::File,
        card_users: UserIds::DEFAULT,
        isolation: Isolation::MicroVm,
        control_group: None,
        cpu_budget_ms: 10_000,
        warm_pool: 1,
        default_keys: false,
    };
    Launcher::new(config).unwrap()
}

fn insert_terminals(transaction: &rusqlite::Transaction<'_>, count: usize) -> rusqlite::Result<()> {
    transaction.execute("INSERT OR IGNORE INTO users VALUES ('jane', 'user', 'hash')", [])?;
    for number in 0..count {
        transaction
            .execute("INSERT OR IGNORE INTO terminals VALUES (?1, 'jane')", [till(number).as_str()])?;
    }
    Ok(())
}

fn till(number: usize) -> Name {
    format!("till-{number}").parse().unwrap()
}

/// Every key in a host key's file.
fn keys_in(file: &Path) -> Vec<[u8; 32]> {
    let bytes = std::fs::read(file).unwrap();
    let entries =
        bytes[BUCKETS.0..].chunks_exact(BUCKETS.1).flat_map(|entry| [&entry[8..40], &entry[40..72]]);
    entries.chain([&bytes[64..96]]).map(|key| key.try_into().unwrap()).collect()
}

/// Opens a wrapped key of format 2 with any of these keys.
fn opened(keys: &[[u8; 32]], card: &CardRecord) -> Option<Vec<u8>> {
    let (head, sealed) = card.wrapped_key.split_at(card.wrapped_key.len() - 60);
    let (nonce, sealed) = sealed.split_first_chunk::<12>().unwrap();
    let aad = [b"cardhost card key v2\0", &card.card[..], &card.terminal.sha256(), head].concat();
    let open = |key: &[u8; 32]| {
        Aes256GcmSiv::new(key.into()).decrypt(&Nonce::from(*nonce), Payload { msg: sealed, aad: &aad }).ok()
    };
    keys.iter().find_map(open)
}

/// Wraps a key as the first version did.
fn wrapped_in_format_1(host: &[u8; 32], card: &CardRecord, key: &[u8]) -> Vec<u8> {
    let aad =
        [b"cardhost card key v1\0", &card.card[..], &card.terminal.sha256(), &card.measurement].concat();
    let sealed =
        Aes256GcmSiv::new(host.into()).encrypt(&Nonce::from([9; 12]), Payload { msg: key, aad: &aad });
    [&[1], &[9; 12][..], &sealed.unwrap()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rotation_the_host_opens_no_earlier_copy_and_every_card() {
    let world = World::new(2).await;
    for number in 0..2 {
        world.cards.create(&till(number)).await.unwrap();
    }
    let (before, other) = (world.card(&till(0)).await, world.card(&till(1)).await);
    let key = opened(&keys_in(&world.host_key()), &before).expect("the host's file opens it");
    let present = world.keys.rotate(Bucket::of(&before.card)).await.unwrap();
    assert_eq!((present.bucket, present.generation), (Bucket::of(&before.card), 2));

    let after = world.card(&till(0)).await;
    assert_eq!(WrappingKey::of(&after.wrapped_key), Some(present));
    let keys = keys_in(&world.host_key());
    assert_eq!((opened(&keys, &before), opened(&keys, &after)), (None, Some(key)));
    world.restarts(&till(0)).await.unwrap();
    world.restarts(&till(1)).await.unwrap();
    if Bucket::of(&other.card) != present.bucket {
        assert_eq!(world.card(&till(1)).await.wrapped_key, other.wrapped_key);
    }
    world.put_back(&before).await;
    let refused = world.restarts(&till(0)).await;
    let closed = LauncherError::Refused(Refusal::WrappedKey);
    assert_eq!(format!("{:?}", refused.unwrap_err()), format!("{:?}", CardError::Launcher(closed)));
}

/// Cards are made, started and rotated under at the same time: each is openable at every moment.
#[tokio::test(flavor = "multi_thread")]
async fn no_card_is_lost_to_rotations_beside_creations_and_starts() {
    const CARDS: usize = 12;
    let world = World::new(CARDS).await;
    let rotations = async {
        for _ in 0..6 {
            futures_util::future::join_all(Bucket::all().map(|bucket| world.keys.rotate(bucket))).await;
        }
    };
    let lives = async {
        for number in 0..CARDS {
            world.cards.create(&till(number)).await.unwrap();
            for earlier in 0..=number {
                world.restarts(&till(earlier)).await.unwrap();
            }
        }
    };
    tokio::join!(rotations, lives);
    let generation = world.keys.rotate(Bucket(0)).await.unwrap().generation;
    assert_eq!(generation, 8, "each rotation had an effect");
    for number in 0..CARDS {
        world.restarts(&till(number)).await.unwrap();
    }
}

/// A host of the first version: one key for all cards, in a bare file.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_the_first_version_is_carried_over() {
    let directory = tempfile::tempdir().unwrap();
    let first = [7; 32];
    std::fs::write(directory.path().join("host.key"), first).unwrap();
    restrict(&directory.path().join("host.key"));
    let world = World::in_directory(directory, 2).await;
    let mut copies = Vec::new();
    for number in 0..2 {
        world.cards.create(&till(number)).await.unwrap();
        let mut card = world.card(&till(number)).await;
        let key = opened(&keys_in(&world.host_key()), &card).unwrap();
        card.wrapped_key = wrapped_in_format_1(&first, &card, &key);
        world.put_back(&card).await;
        copies.push(card);
    }
    // One is carried over by its start, the other by the daemon.
    world.restarts(&till(0)).await.unwrap();
    assert!(keys_in(&world.host_key()).contains(&first));
    world.keys.finish().await.unwrap();
    assert!(!keys_in(&world.host_key()).contains(&first));
    for (number, copy) in copies.iter().enumerate() {
        assert_ne!(world.card(&till(number)).await.wrapped_key, copy.wrapped_key);
        world.restarts(&till(number)).await.unwrap();
    }
    world.put_back(&copies[0]).await;
    assert!(world.restarts(&till(0)).await.is_err());
}

fn restrict(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
