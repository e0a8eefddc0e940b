//! What must never be left behind in a host's store, whatever was killed.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags};

use crate::soon;

/// Rows that no moment of a host at rest may show, and how to count them.
const HALF_DONE: [(&str, &str); 10] = [
    ("records without card", "SELECT count(*) FROM records WHERE card NOT IN (SELECT card FROM cards)"),
    (
        "credentials without card",
        "SELECT count(*) FROM credentials WHERE card NOT IN (SELECT card FROM cards)",
    ),
    ("profiles without card", "SELECT count(*) FROM profiles WHERE card NOT IN (SELECT card FROM cards)"),
    (
        "certificates without key",
        "SELECT count(*) FROM certificates c WHERE NOT EXISTS (SELECT 1 FROM credentials k
         WHERE k.card = c.card AND k.key_reference = c.key_reference AND k.public_key = c.public_key)",
    ),
    (
        "certificates of another's card",
        "SELECT count(*) FROM certificates JOIN cards USING (card) WHERE certificates.terminal <> cards.terminal",
    ),
    (
        "cards without terminal",
        "SELECT count(*) FROM cards WHERE terminal NOT IN (SELECT name FROM terminals)",
    ),
    (
        "cards without credential",
        "SELECT count(*) FROM cards WHERE card NOT IN (SELECT card FROM credentials UNION SELECT card FROM profiles)",
    ),
    ("cards half certified to pair", "SELECT count(*) FROM pairing_keys WHERE request IS NOT NULL"),
    ("cards without head", "SELECT count(*) FROM cards WHERE head IS NULL AND epoch > 0"),
    ("cards with a receipt", "SELECT count(*) FROM cards WHERE card IN (SELECT card FROM receipts)"),
];

/// Work that the host has begun and carries forward.
const UNSETTLED: &str = "SELECT (SELECT count(*) FROM intents)
    + (SELECT count(*) FROM cards WHERE state = 'ending')
    + (SELECT count(*) FROM revocations WHERE state = 'queued')";

/// What a host without cards keeps nothing in.
const TABLES_OF_CARDS: [&str; 8] =
    ["cards", "records", "credentials", "profiles", "certificates", "pairing_keys", "intents", "revocations"];

/// Waits until all that was begun is done or undone. Nothing tells a client of the reconciliation's end: the store is asked
/// until nothing is open.
pub async fn settled(data: &Path) {
    let mut pause = tokio::time::interval(Duration::from_millis(20));
    let settled = async {
        while count(&open(data), UNSETTLED) > 0 {
            pause.tick().await;
        }
    };
    soon("the host finishes or undoes what was begun", settled).await;
}

/// How many cards the authority certified to pair.
pub fn certified_cards(data: &Path) -> usize {
    count(&open(data), "SELECT count(*) FROM pairing_keys") as usize
}

/// The database is whole and nothing in it is half done.
pub fn assert_sound(data: &Path) {
    let store = open(data);
    for (what, query) in HALF_DONE {
        assert_eq!(count(&store, query), 0, "{what}");
    }
    let foreign_keys = "SELECT count(*) FROM pragma_foreign_key_check";
    assert_eq!(count(&store, foreign_keys), 0, "rows that refer to nothing");
    let integrity = store.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    assert_eq!(integrity.expect("a verdict"), "ok");
}

/// No row of any card is left.
pub fn assert_none(data: &Path) {
    let store = open(data);
    for table in TABLES_OF_CARDS {
        assert_eq!(count(&store, &format!("SELECT count(*) FROM {table}")), 0, "rows in {table}");
    }
}

fn open(data: &Path) -> Connection {
    let path = data.join("store.db");
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the host's store")
}

fn count(store: &Connection, query: &str) -> i64 {
    store.query_row(query, [], |row| row.get(0)).expect("a count")
}
