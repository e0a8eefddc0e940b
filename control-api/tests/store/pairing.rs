//! Pairing keys of cards, certificates of devices, and the list of what was revoked of them.

use std::path::Path;

use cardhost::{
    audit::{Audit, SigningKey},
    auth::name::Name,
    pki::RevocationList,
    store::{
        Store, cards,
        devices::{self, DeviceRecord, Devices},
        pairing_keys::{self, Due, PairingKey},
        revocation_list,
        revocations::{self, Purpose, RevocationRecord, Subject},
        terminals::{Removal, Terminals},
    },
};
use jiff::Timestamp;

use super::{CARD, freeze, store_with_card};

/// When the certificates of these tests are to be renewed.
const LATER: Timestamp = Timestamp::constant(1_000, 0);

async fn write<T: Send + 'static>(
    store: &Store,
    work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
) -> T {
    store.write(work).await.unwrap()
}

fn till() -> Name {
    "till-7".parse().unwrap()
}

async fn key(store: &Store) -> Option<PairingKey> {
    store.read(|connection| pairing_keys::find(connection, &CARD)).await.unwrap()
}

/// What is queued for revocation.
async fn queued(store: &Store) -> Vec<(Purpose, Subject)> {
    let queued = store.read(revocations::queued).await.unwrap();
    queued.into_iter().map(|record: RevocationRecord| (record.purpose, record.subject)).collect()
}

/// The card is destroyed.
async fn revoke(store: &Store) {
    let revoke = |transaction: &rusqlite::Transaction<'_>| {
        let card = cards::find(transaction, &till())?.unwrap();
        pairing_keys::revoke(transaction, &card)
    };
    write(store, revoke).await;
}

#[tokio::test]
async fn what_may_have_been_issued_for_a_card_is_queued_when_the_card_goes() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_with_card(directory.path()).await;
    revoke(&store).await;
    assert_eq!((key(&store).await, queued(&store).await), (None, Vec::new()));

    write(&store, |transaction| pairing_keys::request(transaction, &CARD, b"request")).await;
    assert_eq!(key(&store).await, Some(PairingKey::Requested(b"request".into())));
    revoke(&store).await;
    assert_eq!(queued(&store).await, [(Purpose::CardPairing, Subject::Request(b"request".into()))]);
    assert_eq!(key(&store).await, None);

    write(&store, |transaction| pairing_keys::request(transaction, &CARD, b"request")).await;
    assert!(write(&store, |transaction| pairing_keys::issued(transaction, &CARD, b"certificate")).await);
    assert_eq!(key(&store).await, Some(PairingKey::Issued(b"certificate".into())));
    write(&store, |transaction| pairing_keys::certified(transaction, &CARD, LATER)).await;
    assert_eq!(key(&store).await, Some(PairingKey::Certified(b"certificate".into())));
    for _ in 0..2 {
        revoke(&store).await;
        let last = (Purpose::CardPairing, Subject::Certificate(b"certificate".into()));
        assert_eq!(queued(&store).await[1..], [last], "once");
    }
    assert!(!write(&store, |transaction| pairing_keys::issued(transaction, &CARD, b"late")).await);
}

#[tokio::test]
async fn what_was_surely_not_issued_is_not_revoked() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_with_card(directory.path()).await;
    write(&store, |transaction| pairing_keys::request(transaction, &CARD, b"request")).await;
    write(&store, |transaction| pairing_keys::withdraw(transaction, &CARD)).await;
    revoke(&store).await;
    assert_eq!(queued(&store).await, []);
}

async fn accepted(store: &Store) -> Option<u64> {
    store.read(|connection| Ok(cards::find(connection, &till())?.unwrap().revocations)).await.unwrap()
}

#[tokio::test]
async fn numbers_of_lists_only_rise() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_with_card(directory.path()).await;
    let keep = async |authority: &[u8], number: u64| {
        let der = number.to_be_bytes().to_vec().into();
        let list = RevocationList { authority: authority.into(), number, der };
        write(&store, move |transaction| revocation_list::keep(transaction, &list)).await
    };
    for (number, kept) in [(3, true), (3, false), (2, false), (4, true), (1, false)] {
        assert_eq!(keep(b"authority", number).await, kept, "{number}");
    }
    let list = store.read(revocation_list::find).await.unwrap().unwrap();
    assert_eq!((list.number, &*list.der), (4, &4_u64.to_be_bytes()[..]));
    assert!(keep(b"another authority", 1).await, "whose numbers are its own");

    assert_eq!(accepted(&store).await, None, "it is not certified");
    write(&store, |transaction| pairing_keys::certified(transaction, &CARD, LATER)).await;
    assert_eq!(accepted(&store).await, Some(0));
    for (number, expected) in [(4, 4), (3, 4), (9, 9)] {
        write(&store, move |transaction| revocation_list::accepted(transaction, &CARD, number)).await;
        assert_eq!(accepted(&store).await, Some(expected));
    }
    write(&store, |transaction| pairing_keys::certified(transaction, &CARD, LATER)).await;
    assert_eq!(accepted(&store).await, Some(9));
}

#[tokio::test]
async fn a_card_whose_older_state_was_accepted_gets_certificate_and_list_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_with_card(directory.path()).await;
    let restore = async || write(&store, |transaction| pairing_keys::restored(transaction, &CARD)).await;
    restore().await;
    assert_eq!((key(&store).await, accepted(&store).await), (None, None));
    write(&store, |transaction| {
        pairing_keys::request(transaction, &CARD, b"request")?;
        pairing_keys::issued(transaction, &CARD, b"certificate")?;
        pairing_keys::certified(transaction, &CARD, LATER)?;
        revocation_list::accepted(transaction, &CARD, 9)
    })
    .await;
    restore().await;
    let issued = Some(PairingKey::Issued(b"certificate".into()));
    assert_eq!((key(&store).await, accepted(&store).await), (issued, Some(0)));
}

async fn due(store: &Store, now: i64) -> Vec<Due> {
    let now = Timestamp::from_second(now).unwrap();
    store.read(move |connection| pairing_keys::due(connection, now, 10)).await.unwrap()
}

async fn waiting(store: &Store) -> Option<Vec<u8>> {
    store.read(|connection| pairing_keys::waiting(connection, &CARD)).await.unwrap()
}

fn certify(transaction: &rusqlite::Transaction<'_>) -> rusqlite::Result<()> {
    pairing_keys::request(transaction, &CARD, b"request")?;
    pairing_keys::issued(transaction, &CARD, b"certificate")?;
    pairing_keys::certified(transaction, &CARD, LATER)
}

#[tokio::test]
async fn a_certificate_is_due_when_it_was_said_and_renewed_by_the_request_that_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_with_card(directory.path()).await;
    write(&store, |transaction| pairing_keys::request(transaction, &CARD, b"request")).await;
    assert_eq!(due(&store, i64::from(i32::MAX)).await, [], "it has none yet");
    write(&store, |transaction| pairing_keys::withdraw(transaction, &CARD)).await;
    write(&store, certify).await;
    let card = |certificate: &[u8]| Due {
        card: CARD,
        terminal: till(),
        certificate: certificate.into(),
        request: Some(b"request".into()),
    };
    assert_eq!(due(&store, 999).await, []);
    assert_eq!(due(&store, 1_000).await, [card(b"certificate")]);

    let attempt = |transaction: &rusqlite::Transaction<'_>| {
        pairing_keys::attempt(transaction, &CARD, Timestamp::constant(2_000, 0))
    };
    assert!(write(&store, attempt).await);
    assert_eq!(due(&store, 1_999).await, [], "it was tried");
    assert_eq!(due(&store, 2_000).await, [card(b"certificate")]);

    let renew = |certificate: &'static [u8]| {
        write(&store, move |transaction| {
            pairing_keys::renewed(transaction, &CARD, certificate, Timestamp::constant(3_000, 0))
        })
    };
    assert!(renew(b"second").await);
    assert_eq!((waiting(&store).await, due(&store, 2_999).await), (Some(b"second".to_vec()), vec![]));
    // A card that sleeps long has the newest when it wakes.
    assert!(renew(b"third").await);
    assert_eq!(due(&store, 3_000).await, [card(b"third")]);
    for (certificate, left) in [(&b"second"[..], Some(b"third".to_vec())), (b"third", None)] {
        write(&store, move |transaction| pairing_keys::delivered(transaction, &CARD, certificate)).await;
        assert_eq!(waiting(&store).await, left);
    }
    assert_eq!(key(&store).await, Some(PairingKey::Certified(b"third".into())));

    assert!(renew(b"fourth").await);
    write(&store, |transaction| cards::end(transaction, &CARD)).await;
    assert_eq!(due(&store, 3_000).await, [], "the card goes");
    revoke(&store).await;
    let of_card = |der: &[u8]| (Purpose::CardPairing, Subject::Certificate(der.into()));
    assert_eq!(queued(&store).await, [of_card(b"fourth"), of_card(b"third")]);
    write(&store, |transaction| cards::forget(transaction, &CARD)).await;
    assert!(!write(&store, attempt).await && !renew(b"late").await);
}

#[tokio::test]
async fn a_card_whose_older_state_was_accepted_is_renewed_by_the_same_request() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_with_card(directory.path()).await;
    write(&store, certify).await;
    write(&store, |transaction| pairing_keys::restored(transaction, &CARD)).await;
    write(&store, |transaction| pairing_keys::certified(transaction, &CARD, LATER)).await;
    assert_eq!(due(&store, 1_000).await[0].request.as_deref(), Some(&b"request"[..]));
}

fn audit(directory: &Path) -> Audit {
    Audit::new(SigningKey::open(&directory.join("audit.key")).unwrap())
}

async fn accept(store: &Store, audit: &Audit, number: u8, certificate: Option<&[u8]>) {
    let device = DeviceRecord {
        fingerprint: [number; 32],
        terminal: till(),
        expires_at: Timestamp::UNIX_EPOCH,
        pairing_certificate: certificate.map(Into::into),
    };
    let audit = audit.clone();
    write(store, move |transaction| devices::insert(transaction, &audit, &till(), &device)).await;
}

#[tokio::test]
async fn the_pairing_certificate_of_a_device_that_goes_is_queued() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_with_card(directory.path()).await;
    let audit = audit(directory.path());
    for (number, certificate) in [(1, None), (2, Some(&b"two"[..])), (3, Some(b"three"))] {
        accept(&store, &audit, number, certificate).await;
    }
    let devices = Devices::new(store.clone(), audit.clone());
    for (number, there) in [(1, true), (2, true), (2, false), (9, false)] {
        assert_eq!(devices.delete(till(), till(), [number; 32]).await.unwrap(), there);
    }
    let two = (Purpose::TerminalPairing, Subject::Certificate(b"two".into()));
    assert_eq!(queued(&store).await, std::slice::from_ref(&two));

    let terminals = Terminals::new(store.clone(), audit);
    assert_eq!(terminals.delete(till(), till()).await.unwrap(), Removal::HasCard);
    assert_eq!(queued(&store).await, std::slice::from_ref(&two), "nothing is half done");
    write(&store, |transaction| cards::forget(transaction, &CARD)).await;
    assert_eq!(terminals.delete(till(), till()).await.unwrap(), Removal::Done);
    let three = (Purpose::TerminalPairing, Subject::Certificate(b"three".into()));
    assert_eq!(queued(&store).await, [two, three]);
}

#[tokio::test]
async fn what_a_terminal_asks_for_again_is_taken_out_of_the_queue() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_with_card(directory.path()).await;
    let queue = |purpose| {
        move |transaction: &rusqlite::Transaction<'_>| {
            revocations::queue_request(transaction, &till(), purpose, b"request")
        }
    };
    let of_card = write(&store, queue(Purpose::CardPairing)).await;
    let of_terminal = write(&store, queue(Purpose::TerminalPairing)).await;
    let resolved = write(&store, queue(Purpose::TerminalPairing)).await;
    write(&store, move |transaction| revocations::resolve(transaction, resolved, b"certificate")).await;
    let find =
        async |id| store.read(move |connection| revocations::find_queued(connection, id)).await.unwrap();
    for again in [true, false] {
        let withdraw =
            |transaction: &rusqlite::Transaction<'_>| revocations::withdraw_request(transaction, b"request");
        assert_eq!(write(&store, withdraw).await, again);
    }
    assert!(
        find(of_terminal).await.is_none() && find(of_card).await.is_some() && find(resolved).await.is_some()
    );
    write(&store, |transaction| revocations::withdraw_certificate(transaction, b"certificate")).await;
    assert!(find(resolved).await.is_none() && find(of_card).await.is_some());
    write(&store, move |transaction| revocations::mark_orphan(transaction, of_card)).await;
    assert!(find(of_card).await.is_none(), "it is an operator's");
}

/// Written by the first version that had the schema, this never changes.
#[tokio::test]
async fn a_frozen_store_of_version_3_knows_who_pairs() {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("store.db");
    let frozen = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store-v3.sqlite");
    std::fs::copy(frozen, &copy).unwrap();
    let store = Store::open(&copy).unwrap();
    assert_eq!(key(&store).await, Some(PairingKey::Certified(b"certificate".into())));
    assert_eq!(accepted(&store).await, Some(7));
    assert_eq!(store.read(revocation_list::find).await.unwrap().unwrap().number, 7);
    let expected = (Purpose::TerminalPairing, Subject::Request(b"request".into()));
    assert_eq!(queued(&store).await, [expected]);
    let devices = Devices::new(store, audit(directory.path())).list(till()).await.unwrap();
    assert_eq!(devices[0].pairing_certificate.as_deref(), Some(&b"device"[..]));
}

/// What one authority certified that cards and terminals had in common is renewed at once, by a request to be asked for.
#[tokio::test]
async fn a_card_that_was_certified_before_renewals_is_due() {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("store.db");
    let frozen = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store-v3.sqlite");
    std::fs::copy(frozen, &copy).unwrap();
    let store = Store::open(&copy).unwrap();
    let [card] = &due(&store, 0).await[..] else { panic!("one card") };
    assert_eq!((&card.certificate[..], &card.request), (&b"certificate"[..], &None));
    write(&store, |transaction| pairing_keys::keep_request(transaction, &CARD, b"request")).await;
    assert_eq!(due(&store, 0).await[0].request.as_deref(), Some(&b"request"[..]));
}

#[tokio::test]
async fn a_frozen_store_of_version_5_knows_what_is_renewed() {
    let frozen = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store-v5.sqlite");
    if std::env::var_os("CARDHOST_FREEZE").is_some() {
        freeze(&frozen, |transaction| {
            certify(transaction)?;
            pairing_keys::renewed(transaction, &CARD, b"renewed", Timestamp::constant(2_000, 0)).map(drop)
        })
        .await;
    }
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("store.db");
    std::fs::copy(frozen, &copy).unwrap();
    let store = Store::open(&copy).unwrap();
    assert_eq!(key(&store).await, Some(PairingKey::Certified(b"certificate".into())));
    assert_eq!((waiting(&store).await, due(&store, 1_999).await), (Some(b"renewed".to_vec()), vec![]));
    let [card] = &due(&store, 2_000).await[..] else { panic!("one card") };
    assert_eq!((&card.certificate[..], card.request.as_deref()), (&b"renewed"[..], Some(&b"request"[..])));
}
