//! The database by itself: what a list holds when it is full.

use super::*;

const DAY: i64 = 24 * 60 * 60;

fn certificate(number: u32, not_after: i64) -> Issued {
    Issued {
        ca: CaName::PairingTerminals,
        serial: number.to_be_bytes().into(),
        der: number.to_be_bytes().into(),
        subject: "CN=till".into(),
        public_key: Vec::new(),
        not_after,
        revocation: None,
    }
}

fn hash(number: u32) -> [u8; 32] {
    let mut hash = [0; 32];
    hash[..4].copy_from_slice(&number.to_be_bytes());
    hash
}

fn revoke(store: &Store, number: u32, not_after: i64, at: i64) {
    let issued = store.issue(&certificate(number, not_after), &hash(number), 0).unwrap();
    assert!(!store.revoke(&issued, &Revocation { at, reason: "unspecified".into() }).unwrap());
}

/// Revokes many at once, under one number.
fn fill(store: &Store, numbers: std::ops::Range<u32>, not_after: i64, at: i64) {
    let mut connection = store.connection();
    let transaction = connection.transaction().unwrap();
    for number in numbers {
        insert(&transaction, &certificate(number, not_after), &hash(number)).unwrap();
    }
    transaction.execute("UPDATE certificates SET revoked_at = ? WHERE revoked_at IS NULL", [at]).unwrap();
    transaction.commit().unwrap();
}

/// Numbers of the certificates on the list of terminals, and the list's own.
fn listed(store: &Store) -> (u64, Vec<u32>) {
    let (number, revoked) = store.revoked(CaName::PairingTerminals).unwrap();
    let of = |issued: Issued| u32::from_be_bytes(issued.serial.try_into().unwrap());
    (number, revoked.into_iter().map(of).collect())
}

#[test]
fn only_expired_certificates_leave_a_full_list_and_its_number_rises_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("authority.sqlite")).unwrap();
    let now = 100 * DAY;
    // The first three have expired, the third of them too recently.
    for (number, not_after) in [(0, DAY), (1, 2 * DAY), (2, now - DAY)] {
        revoke(&store, number, not_after, now);
    }
    fill(&store, 3..PAIRING_ENTRIES, now + DAY, now);
    assert_eq!(listed(&store), (4, (0..PAIRING_ENTRIES).collect()));
    for (more, gone) in [(0, 1), (1, 2), (2, 2)] {
        revoke(&store, PAIRING_ENTRIES + more, now + DAY, now);
        let expected = (u64::from(more) + 5, (gone..=PAIRING_ENTRIES + more).collect());
        assert_eq!(listed(&store), expected);
    }
    assert_eq!(store.revoked(CaName::Issuing).unwrap(), (1, Vec::new()));
}

#[test]
fn a_request_gets_its_certificate_again_as_long_as_that_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("authority.sqlite")).unwrap();
    let issue = |number, now| store.issue(&certificate(number, 10), &hash(7), now).unwrap().serial;
    let first = issue(1, 0);
    assert_eq!(issue(2, 9), first);
    assert_ne!(issue(3, 10), first, "it has expired");
    let third = store.by_request(&hash(7), 0).unwrap().unwrap();
    store.revoke(&third, &Revocation { at: 5, reason: "unspecified".into() }).unwrap();
    assert_eq!(store.by_request(&hash(7), 0).unwrap(), None);
    assert_ne!(issue(4, 0), third.serial, "it is revoked");
}
