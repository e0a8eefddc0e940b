//! Revocations that the authority has yet to make.

use jiff::Timestamp;
use rusqlite::{Connection, Row, Transaction, params};

use crate::auth::name::Name;

/// Why a certificate is revoked (RFC 5280, 5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its key is gone from the card.
    CessationOfOperation,
    /// A renewed one took its place.
    Superseded,
}

impl Reason {
    /// The reason's name in RFC 5280.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CessationOfOperation => "cessationOfOperation",
            Self::Superseded => "superseded",
        }
    }
}

/// What is to be revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// This certificate, DER.
    Certificate(Vec<u8>),
    /// Whatever the authority may have issued on this certification request, DER.
    Request(Vec<u8>),
}

/// A queued revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationRecord {
    /// Its number.
    pub id: i64,
    /// The terminal it came from.
    pub terminal: Name,
    /// What is to be revoked.
    pub subject: Subject,
    /// Why, as RFC 5280 names it.
    pub reason: String,
}

/// The revocations that can be asked for, the oldest first.
pub fn queued(connection: &Connection) -> rusqlite::Result<Vec<RevocationRecord>> {
    select(connection, "queued")
}

/// What an operator has to revoke elsewhere.
pub fn orphans(connection: &Connection) -> rusqlite::Result<Vec<RevocationRecord>> {
    select(connection, "orphan")
}

/// Queues a certificate.
pub fn queue_certificate(
    transaction: &Transaction<'_>,
    terminal: &Name,
    certificate: &[u8],
    reason: Reason,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO revocations (terminal, certificate, reason, created_at) VALUES (?1, ?2, ?3, ?4)";
    transaction.execute(sql, params![terminal, certificate, reason.name(), now()])?;
    Ok(())
}

/// Queues a request whose answer is not known.
pub fn queue_request(transaction: &Transaction<'_>, terminal: &Name, request: &[u8]) -> rusqlite::Result<()> {
    let sql = "INSERT INTO revocations (terminal, request, reason, created_at) VALUES (?1, ?2, ?3, ?4)";
    transaction.execute(sql, params![terminal, request, Reason::CessationOfOperation.name(), now()])?;
    Ok(())
}

/// The authority answered a request after all: this is the certificate to revoke.
pub fn resolve(transaction: &Transaction<'_>, id: i64, certificate: &[u8]) -> rusqlite::Result<()> {
    let sql = "UPDATE revocations SET certificate = ?2, request = NULL WHERE id = ?1";
    transaction.execute(sql, params![id, certificate])?;
    Ok(())
}

/// Leaves a revocation to the operator.
pub fn mark_orphan(transaction: &Transaction<'_>, id: i64) -> rusqlite::Result<()> {
    transaction.execute("UPDATE revocations SET state = 'orphan' WHERE id = ?1", [id])?;
    Ok(())
}

/// The revocation is made, or there is nothing to revoke.
pub fn delete(transaction: &Transaction<'_>, id: i64) -> rusqlite::Result<bool> {
    Ok(transaction.execute("DELETE FROM revocations WHERE id = ?1", [id])? == 1)
}

fn select(connection: &Connection, state: &str) -> rusqlite::Result<Vec<RevocationRecord>> {
    let sql =
        "SELECT id, terminal, certificate, request, reason FROM revocations WHERE state = ?1 ORDER BY id";
    connection.prepare_cached(sql)?.query_map([state], revocation)?.collect()
}

fn revocation(row: &Row<'_>) -> rusqlite::Result<RevocationRecord> {
    let subject = match row.get(2)? {
        Some(certificate) => Subject::Certificate(certificate),
        None => Subject::Request(row.get(3)?),
    };
    Ok(RevocationRecord { id: row.get(0)?, terminal: row.get(1)?, subject, reason: row.get(4)? })
}

fn now() -> i64 {
    Timestamp::now().as_second()
}
