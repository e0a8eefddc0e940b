//! Folders of earlier versions open, and everything in them goes on.

use std::{fs, path::Path};

use cardhost_authority::Authority;

/// Opens a copy of the database that this version wrote; each is written by the first version that had its schema and
/// never changes.
fn opened(version: &str) -> (tempfile::TempDir, rusqlite::Connection) {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let database = folder.path().join("authority.sqlite");
    fs::copy(fixtures.join(format!("authority-{version}.sqlite")), &database).unwrap();
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
    assert_eq!((number(&database, "issuing"), number(&database, "pairing-terminals")), (2, 1));
}

/// How many certificates an authority has issued and revoked.
fn counted(database: &rusqlite::Connection, ca: &str) -> (i64, i64) {
    let sql = "SELECT count(*), count(revoked_at) FROM certificates WHERE ca = ?";
    database.query_row(sql, [ca], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

#[test]
fn the_pairing_authority_of_version_2_goes_on_as_the_terminals() {
    let (_folder, database) = opened("v2");
    for ca in ["issuing", "pairing-terminals"] {
        assert_eq!((counted(&database, ca), number(&database, ca)), ((2, 1), 2), "{ca}");
    }
    assert_eq!(counted(&database, "pairing-cards"), (0, 0));
}

#[test]
fn a_database_of_version_3_has_an_authority_of_cards_too() {
    let (_folder, database) = opened("v3");
    for (ca, expected) in [("issuing", (1, 0)), ("pairing-cards", (2, 1)), ("pairing-terminals", (2, 1))] {
        assert_eq!(counted(&database, ca), expected, "{ca}");
    }
    assert_eq!((number(&database, "issuing"), number(&database, "pairing-terminals")), (1, 2));
}

/// Wherever the renaming of its files was interrupted.
#[test]
fn the_key_of_the_one_pairing_authority_goes_on_as_the_terminals() {
    for interrupted in [&[][..], &["key"], &["key", "pem"]] {
        let folder = tempfile::tempdir().unwrap();
        drop(Authority::open(folder.path()).unwrap());
        let file = |name: &str, extension: &str| folder.path().join(format!("{name}.{extension}"));
        let key = fs::read_to_string(file("pairing-terminals-ca", "key")).unwrap();
        for extension in ["key", "pem"].into_iter().filter(|extension| !interrupted.contains(extension)) {
            fs::rename(file("pairing-terminals-ca", extension), file("pairing-ca", extension)).unwrap();
        }
        drop(Authority::open(folder.path()).unwrap());
        assert_eq!(fs::read_to_string(file("pairing-terminals-ca", "key")).unwrap(), key, "{interrupted:?}");
        assert!(!file("pairing-ca", "key").exists() && !file("pairing-ca", "pem").exists());
    }
}
