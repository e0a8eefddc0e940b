//! The audit log: what happened to users, terminals and cards, in a chain that cannot be changed unnoticed.
//!
//! ```text
//! hash[n] = SHA-256(hash[n-1] ‖ entry[n])      hash[0] = 32 zero bytes
//! signature[n] = Ed25519(host signing key, "cardhost audit v1\0" ‖ n ‖ hash[n])
//! ```
//!
//! An entry is JSON with its keys in order and no white space, so that whoever parses and writes it again
//! gets the hashed bytes. Each signature covers the whole log up to its entry. [`verify()`] needs no daemon.

mod entry;
mod key;
mod receipt;
mod verify;

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use sha2::{Digest as _, Sha256};

pub use entry::{Action, Entry};
pub use key::{SigningKey, SigningKeyError};
pub use receipt::{Destruction, Receipt, RetiredKeys};
pub use verify::{AuditFault, verify, verify_database, verify_receipt};

const DOMAIN: &[u8] = b"cardhost audit v1\0";

/// An entry with its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// 1 for the first.
    pub sequence: u64,
    /// The exact JSON text that was hashed.
    pub entry: String,
    /// SHA-256 of the previous hash and this entry.
    #[serde(with = "hex")]
    pub hash: [u8; 32],
    /// Ed25519 over the chain up to here.
    #[serde(with = "hex")]
    pub signature: Vec<u8>,
}

/// Writes and reads the log.
#[derive(Clone)]
pub struct Audit(Arc<SigningKey>);

impl Audit {
    /// A log signed with this key.
    pub fn new(key: SigningKey) -> Self {
        Self(Arc::new(key))
    }

    /// The key that signs.
    pub fn key(&self) -> &SigningKey {
        &self.0
    }

    /// Appends an entry, in the transaction of what it records.
    pub fn append(&self, transaction: &Transaction<'_>, entry: &Entry) -> rusqlite::Result<()> {
        let (last, previous) = head(transaction)?;
        let (sequence, entry) = (last + 1, entry.canonical());
        let hash = chained(&previous, &entry);
        let signature = self.0.sign(&signed_bytes(sequence, &hash));
        let sql = "INSERT INTO audit (sequence, entry, hash, signature) VALUES (?1, ?2, ?3, ?4)";
        transaction.prepare_cached(sql)?.execute(params![sequence, entry, hash, signature])?;
        Ok(())
    }
}

/// At most `limit` entries after this sequence number.
pub fn list(connection: &Connection, after: u64, limit: u32) -> rusqlite::Result<Vec<Link>> {
    let sql =
        "SELECT sequence, entry, hash, signature FROM audit WHERE sequence > ?1 ORDER BY sequence LIMIT ?2";
    connection.prepare_cached(sql)?.query_map(params![after, limit], link)?.collect()
}

fn head(connection: &Connection) -> rusqlite::Result<(u64, [u8; 32])> {
    let sql = "SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1";
    let head =
        connection.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(head.unwrap_or_default())
}

fn chained(previous: &[u8; 32], entry: &str) -> [u8; 32] {
    Sha256::new().chain_update(previous).chain_update(entry).finalize().into()
}

fn signed_bytes(sequence: u64, hash: &[u8; 32]) -> Vec<u8> {
    [DOMAIN, &sequence.to_be_bytes(), hash].concat()
}

fn link(row: &Row<'_>) -> rusqlite::Result<Link> {
    Ok(Link { sequence: row.get(0)?, entry: row.get(1)?, hash: row.get(2)?, signature: row.get(3)? })
}
