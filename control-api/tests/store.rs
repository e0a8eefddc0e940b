//! The store: commits of cards against a model, failures that undo one write alone, the frozen schema.

#[path = "store/failures.rs"]
mod failures;
#[path = "store/pairing.rs"]
mod pairing;
#[path = "store/power_cuts.rs"]
mod power_cuts;
#[path = "store/quotas.rs"]
mod quotas;

use std::{collections::BTreeMap, path::Path};

use cardhost::{
    audit::{self, Action, Audit, Entry, Receipt, SigningKey, verify, verify_receipt},
    auth::name::Name,
    store::{
        Store, StoreError,
        cards::{self, CardRecord, CardState, CommitOutcome},
        certificates::{self, CertificateRecord},
        revocations,
        wrapped_keys::{self, Replacement},
    },
};
use cardhost_wire::{
    control::{Commit, Credential, KeyCredential, SealedRecord},
    key::{Algorithm, KeyReference},
    wrapping::{Bucket, WrappingKey},
};
use jiff::Timestamp;
use uuid::Uuid;

const CARD: [u8; 16] = [7; 16];
const WRAPPED_KEY: [u8; 60] = [1; 60];

async fn store_with_card(directory: &Path) -> Store {
    let store = Store::open(&directory.join("store.db")).unwrap();
    store.write(insert_card).await.unwrap();
    store
}

fn insert_card(transaction: &rusqlite::Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute("INSERT OR IGNORE INTO users VALUES ('jane', 'user', 'hash')", [])?;
    transaction.execute("INSERT OR IGNORE INTO terminals VALUES ('till-7', 'jane')", [])?;
    let record = CardRecord {
        terminal: "till-7".parse().unwrap(),
        card: CARD,
        wrapped_key: WRAPPED_KEY.into(),
        measurement: [2; 32],
        epoch: 0,
        head: None,
        atr: None,
        state: CardState::InUse,
        created_at: Timestamp::UNIX_EPOCH,
        revocations: None,
    };
    cards::insert(transaction, &record)
}

fn credential(slot: u8) -> Credential {
    let (key_reference, algorithm) = (KeyReference(slot), Algorithm::P256);
    Credential::Key(KeyCredential { key_reference, algorithm, public_key: [slot; 32] })
}

fn commit(epoch: u64, put: &[(u16, &[u8])], delete: &[u16], slots: &[u8]) -> Commit {
    let put = put.iter().map(|&(id, sealed)| SealedRecord { id, sealed: sealed.into() }).collect();
    let credentials = slots.iter().copied().map(credential).collect();
    Commit { epoch, put, delete: delete.into(), head: epoch.to_be_bytes().into(), credentials }
}

async fn apply(store: &Store, commit: Commit) -> CommitOutcome {
    store.write(move |transaction| cards::commit(transaction, &CARD, &commit, None)).await.unwrap()
}

async fn state(store: &Store) -> (u64, BTreeMap<u16, Vec<u8>>) {
    let read = |connection: &rusqlite::Connection| {
        let card = cards::find(connection, &"till-7".parse().unwrap())?.unwrap();
        let records = cards::records(connection, &CARD)?;
        Ok((card.epoch, records.into_iter().map(|record| (record.id, record.sealed)).collect()))
    };
    store.read(read).await.unwrap()
}

#[tokio::test]
async fn only_the_next_epoch_is_stored() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_with_card(directory.path()).await;
    assert_eq!(apply(&store, commit(2, &[], &[], &[])).await, CommitOutcome::WrongEpoch { due: 1 });
    let stored = CommitOutcome::Stored { last_credential_gone: false };
    assert_eq!(apply(&store, commit(1, &[(3, b"a")], &[], &[])).await, stored);
    assert_eq!(apply(&store, commit(1, &[(3, b"b")], &[], &[])).await, CommitOutcome::WrongEpoch { due: 2 });
    assert_eq!(state(&store).await, (1, BTreeMap::from([(3, b"a".to_vec())])));
}

#[tokio::test]
async fn a_card_does_not_outgrow_its_bounds() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_with_card(directory.path()).await;
    let large = vec![0; cards::MAX_SEALED];
    let stored = CommitOutcome::Stored { last_credential_gone: false };
    assert_eq!(apply(&store, commit(1, &[(1, &large)], &[], &[])).await, stored);
    assert_eq!(apply(&store, commit(2, &[(2, b"x")], &[], &[])).await, CommitOutcome::TooLarge);
    // What it replaces or removes counts no more.
    assert_eq!(apply(&store, commit(2, &[(2, &large)], &[1], &[])).await, stored);
}

#[tokio::test]
async fn a_vanished_credential_takes_its_certificate_along_and_the_last_one_the_card() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_with_card(directory.path()).await;
    apply(&store, commit(1, &[], &[], &[0x9A, 0x9C])).await;
    store.write(insert_certificate).await.unwrap();
    let kept = CommitOutcome::Stored { last_credential_gone: false };
    assert_eq!(apply(&store, commit(2, &[], &[], &[0x9C])).await, kept);
    let queued = store.read(revocations::queued).await.unwrap();
    assert_eq!(queued[0].subject, revocations::Subject::Certificate(b"certificate".into()));
    let last = CommitOutcome::Stored { last_credential_gone: true };
    assert_eq!(apply(&store, commit(3, &[], &[], &[])).await, last);
    assert_eq!(store.read(revocations::queued).await.unwrap().len(), 1);
    assert_eq!(store.read(cards::ending).await.unwrap().len(), 1);
}

fn profile(iccid: &str) -> Credential {
    Credential::Profile(iccid.parse().unwrap())
}

#[tokio::test]
async fn a_card_lives_for_keys_and_profiles_alike() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_with_card(directory.path()).await;
    let profiles = [profile("8988211000000510217"), profile("89882110000005102191")];
    let reporting = |epoch, slots: &[u8], profiles: &[Credential]| {
        let mut commit = commit(epoch, &[], &[], slots);
        commit.credentials.extend_from_slice(profiles);
        commit
    };
    let told = async || {
        let credentials = store.read(|connection| cards::credentials(connection, &CARD)).await.unwrap();
        let count = store.read(|connection| cards::count_credentials(connection, &CARD)).await.unwrap();
        assert_eq!(credentials.len(), count as usize);
        credentials
    };
    let kept = CommitOutcome::Stored { last_credential_gone: false };
    assert_eq!(apply(&store, reporting(1, &[0x9A], &profiles)).await, kept);
    assert_eq!(told().await, [credential(0x9A), profiles[0].clone(), profiles[1].clone()]);
    assert_eq!(apply(&store, reporting(2, &[], &profiles)).await, kept);
    // The same again, in another order: nothing changes.
    let turned = [profiles[1].clone(), profiles[0].clone()];
    assert_eq!(apply(&store, reporting(3, &[], &turned)).await, kept);
    assert_eq!(told().await, profiles);
    assert_eq!(apply(&store, reporting(4, &[], &profiles[..1])).await, kept);
    assert_eq!(told().await, profiles[..1]);
    let last = CommitOutcome::Stored { last_credential_gone: true };
    assert_eq!(apply(&store, reporting(5, &[], &[])).await, last);
    assert!(told().await.is_empty() && store.read(cards::ending).await.unwrap().len() == 1);
}

fn insert_certificate(transaction: &rusqlite::Transaction<'_>) -> rusqlite::Result<()> {
    let record = CertificateRecord {
        id: Uuid::from_u128(1),
        terminal: "till-7".parse().unwrap(),
        card: CARD,
        key_reference: KeyReference(0x9A),
        algorithm: Algorithm::P256,
        public_key: [0x9A; 32],
        der: b"certificate".into(),
        created_at: Timestamp::UNIX_EPOCH,
    };
    certificates::insert(transaction, &record)
}

#[tokio::test]
async fn a_failed_write_undoes_itself_and_no_other_of_its_group() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_with_card(directory.path()).await;
    let insert = |name: &'static str| {
        store.write(move |transaction| {
            transaction.execute("INSERT INTO users VALUES (?1, 'user', '')", [name])
        })
    };
    let twice = store.write(|transaction| {
        transaction.execute("INSERT INTO users VALUES ('half', 'user', '')", [])?;
        transaction.execute("INSERT INTO users VALUES ('jane', 'user', '')", [])
    });
    let panics = store.write(|_| -> rusqlite::Result<()> { panic!("a write that panics") });
    let (a, failed, panicked, b) = tokio::join!(insert("a"), twice, panics, insert("b"));
    assert!(a.is_ok() && b.is_ok());
    assert!(matches!(failed, Err(StoreError::Sql(_))) && matches!(panicked, Err(StoreError::Abandoned)));
    let users = "SELECT group_concat(name) FROM (SELECT name FROM users ORDER BY name)";
    let names: String =
        store.read(move |connection| connection.query_row(users, [], |row| row.get(0))).await.unwrap();
    assert_eq!(names, "a,b,jane");
}

/// The model: whatever instant the files are copied at, as a power cut would leave them, what was acknowledged
/// by then is there and nothing is half there.
#[tokio::test]
async fn a_power_cut_after_any_commit_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_with_card(directory.path()).await;
    let mut model = BTreeMap::new();
    for epoch in 1..=60_u64 {
        let (put, gone) = ((epoch % 7) as u16, (epoch % 5) as u16);
        let sealed = vec![epoch as u8; (epoch as usize * 97) % 3000 + 1];
        model.insert(put, sealed.clone());
        let gone = if gone == put { vec![] } else { vec![gone] };
        gone.iter().for_each(|id| drop(model.remove(id)));
        apply(&store, commit(epoch, &[(put, &sealed)], &gone, &[0x9A])).await;
        let cut = tempfile::tempdir().unwrap();
        for file in ["store.db", "store.db-wal"] {
            std::fs::copy(directory.path().join(file), cut.path().join(file)).unwrap();
        }
        let reopened = Store::open(&cut.path().join("store.db")).unwrap();
        assert_eq!(state(&reopened).await, (epoch, model.clone()));
    }
}

#[tokio::test]
async fn erased_content_stands_in_no_file_of_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_with_card(directory.path()).await;
    let sealed = b"the sealed state of this card, 0123456789";
    apply(&store, commit(1, &[(1, sealed)], &[], &[0x9A])).await;
    store.write(|transaction| cards::erase(transaction, &CARD)).await.unwrap();
    assert!(store.scrub().await.unwrap(), "nobody reads");
    for file in ["store.db", "store.db-wal"] {
        let bytes = std::fs::read(directory.path().join(file)).unwrap();
        for needle in [&sealed[..], &WRAPPED_KEY] {
            assert!(!bytes.windows(needle.len()).any(|window| window == needle), "{file}");
        }
    }
    // What waits for the rest of its destruction is found again.
    assert_eq!(store.read(cards::ending).await.unwrap().len(), 1);
    store.write(|transaction| cards::forget(transaction, &CARD)).await.unwrap();
    assert!(store.read(cards::ending).await.unwrap().is_empty());
}

/// A rotation reads the cards of its own bucket, however many others there are.
#[tokio::test]
async fn a_buckets_stale_keys_are_found_by_index_and_replaced_only_if_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_with_card(directory.path()).await;
    let present = |bucket, generation| WrappingKey { bucket, generation };
    let stale = |key: WrappingKey| {
        let find =
            move |connection: &_| wrapped_keys::stale(connection, key, &wrapped_keys::before(key.bucket), 10);
        store.read(find)
    };
    let (bucket, version_1) = (Bucket::of(&CARD), present(Bucket::VERSION_1, 0));
    for key in [present(bucket, 1), version_1] {
        let found = stale(key).await.unwrap();
        assert_eq!((found.len(), found[0].card, &found[0].wrapped_key[..]), (1, CARD, &WRAPPED_KEY[..]));
        assert_eq!((found[0].owner, found[0].image), (Name::sha256(&"till-7".parse().unwrap()), [2; 32]));
    }
    for bucket in [Bucket(6), Bucket(8), Bucket(0), Bucket(255)] {
        assert!(stale(present(bucket, 1)).await.unwrap().is_empty());
    }
    let later = [&present(bucket, 2).prefix()[..], b"rest"].concat();
    let replacement = Replacement { card: CARD, earlier: WRAPPED_KEY.into(), later };
    for expected in [true, false] {
        let again = replacement.clone();
        let replaced =
            store.write(move |transaction| wrapped_keys::replace(transaction, &again)).await.unwrap();
        assert_eq!(replaced, expected);
    }
    assert!(
        stale(present(bucket, 2)).await.unwrap().is_empty() && stale(version_1).await.unwrap().is_empty()
    );
    assert_eq!(stale(present(bucket, 3)).await.unwrap().len(), 1);
    let plan = store.read(|connection| wrapped_keys::plan(connection, Bucket(7))).await.unwrap();
    assert!(plan.contains("USING INDEX") && plan.contains("card>? AND card<?"), "{plan}");
}

#[tokio::test]
async fn the_audit_log_shows_every_change_made_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_with_card(directory.path()).await;
    let audit = Audit::new(SigningKey::open(&directory.path().join("audit.key")).unwrap());
    for number in 0..5 {
        let (audit, entry) = (audit.clone(), Entry::new(Action::CardCreated).detail("number", number));
        store.write(move |transaction| audit.append(transaction, &entry)).await.unwrap();
    }
    let links = store.read(|connection| audit::list(connection, 0, 100)).await.unwrap();
    let key = audit.key().public();
    assert_eq!(verify(links.clone(), key).unwrap(), 5);
    for at in 0..links.len() {
        let mut missing = links.clone();
        missing.remove(at);
        // A log that lost its end is still a whole, signed log up to there.
        assert_eq!(verify(missing, key).is_err(), at < links.len() - 1);
        let mut changed = links.clone();
        changed[at].entry = changed[at].entry.replace("number", "nummer");
        assert!(verify(changed, key).is_err());
    }
    assert!(verify(links, &[0; 32]).is_err());
}

/// What the first version signed must verify for ever.
#[test]
fn the_frozen_receipts_verify() {
    for frozen in [include_str!("fixtures/receipt-1.json"), include_str!("fixtures/receipt-2.json")] {
        let receipt: Receipt = serde_json::from_str(frozen).unwrap();
        let key = receipt.public_key.clone();
        let destruction = verify_receipt(&receipt, &key).unwrap();
        assert_eq!((destruction.card, destruction.terminal.as_str()), ([7; 16], "till-7"));
        // Its fields stand in the order that was signed.
        assert_eq!(serde_json::to_string(&destruction).unwrap(), receipt.statement);
        let changed = Receipt { statement: receipt.statement.replace("till-7", "till-8"), ..receipt };
        assert!(verify_receipt(&changed, &key).is_err());
    }
}

/// Makes a fixture with this as well. Only before the first release that writes the format; from then on it stays as it is.
async fn freeze(
    path: &Path,
    further: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<()> + Send + 'static,
) {
    let directory = tempfile::tempdir().unwrap();
    let store = store_with_card(directory.path()).await;
    let mut first = commit(1, &[(3, b"sealed")], &[], &[0x9A]);
    first.credentials.push(profile("8988211000000510217"));
    apply(&store, first).await;
    store.write(insert_certificate).await.unwrap();
    store.write(further).await.unwrap();
    assert!(store.scrub().await.unwrap());
    std::fs::copy(directory.path().join("store.db"), path).unwrap();
    // As small as it can be.
    let frozen = rusqlite::Connection::open(path).unwrap();
    frozen.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA page_size = 512; VACUUM").unwrap();
}

#[tokio::test]
async fn the_frozen_profiles_are_credentials() {
    let frozen = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store-v4.sqlite");
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("store.db");
    std::fs::copy(frozen, &copy).unwrap();
    let store = Store::open(&copy).unwrap();
    let credentials = store.read(|connection| cards::credentials(connection, &CARD)).await.unwrap();
    assert_eq!(credentials, [credential(0x9A), profile("8988211000000510217")]);
}

/// Written by the first version that had the schema, these never change.
#[tokio::test]
async fn the_frozen_stores_of_every_version_open() {
    for version in 1..=5 {
        let frozen = format!("tests/fixtures/store-v{version}.sqlite");
        opens_and_goes_on(&Path::new(env!("CARGO_MANIFEST_DIR")).join(frozen)).await;
    }
}

async fn opens_and_goes_on(frozen: &Path) {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("store.db");
    std::fs::copy(frozen, &copy).unwrap();
    let store = Store::open(&copy).unwrap();
    assert_eq!(state(&store).await, (1, BTreeMap::from([(3, b"sealed".to_vec())])));
    let terminal = "till-7".parse().unwrap();
    let certificates =
        store.read(move |connection| certificates::of_terminal(connection, &terminal)).await.unwrap();
    assert_eq!(certificates[0].id, Uuid::from_u128(1));
    let stored = CommitOutcome::Stored { last_credential_gone: true };
    assert_eq!(apply(&store, commit(2, &[], &[], &[])).await, stored);
}
