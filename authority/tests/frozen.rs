//! Folders of earlier versions open, and everything in them goes on.

use std::path::Path;

use cardhost_authority::Authority;

/// Opens a copy of the database that this version wrote; each is written by the first version that had its schema and
/// never changes.
fn opened(version: &str) -> (tempfile::TempDir, rusqlite::Connection) {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let database = folder.path().join("authority.sqlite");
    std::fs::copy(fixtures.join(format!("authority-{version}.sqlite")), &database).unwrap();
    drop(Authority::open(folder.path()).unwrap());
    (folder, rusqlite::Connection::open(database).unwrap())
}

fn number(database: &rusqlite::Connection, ca: &str) -> i64 {
    database.query_row("SELECT number FROM crl WHERE ca = ?", [ca], |row| row.get(0)).unwrap()
}

#[test]
fn a_database_of_version_1_is_the_issuing_authoritys() {
    let (_folder, database) = opened("v1");
    let sql = "SELECT count(*), count(revoked_at) FROM certificates WHERE ca = 'issuing' AND listed = 1";
    let counted = database.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
    assert_eq!(counted, Ok((2_i64, 1_i64)));
    assert_eq!((number(&database, "issuing"), number(&database, "pairing")), (2, 1));
}

#[test]
fn a_database_of_version_2_has_both_authorities() {
    let (_folder, database) = opened("v2");
    for (ca, expected) in [("issuing", (2_i64, 1_i64)), ("pairing", (2, 1))] {
        let sql = "SELECT count(*), count(revoked_at) FROM certificates WHERE ca = ?";
        let counted = database.query_row(sql, [ca], |row| Ok((row.get(0)?, row.get(1)?)));
        assert_eq!((counted, number(&database, ca)), (Ok(expected), 2), "{ca}");
    }
}
