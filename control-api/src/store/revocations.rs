//! Revocations that the authority has yet to make.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params, types::FromSqlError};

use crate::auth::name::Name;

/// Why a certificate is revoked (RFC 5280, 5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its key is gone from the card.
    CessationOfOperation,
    /// A renewed one took its place.
    Superseded,
    /// An operator says so.
    PrivilegeWithdrawn,
}

impl Reason {
    /// The reason's name in RFC 5280.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CessationOfOperation => "cessationOfOperation",
            Self::Superseded => "superseded",
            Self::PrivilegeWithdrawn => "privilegeWithdrawn",
        }
    }
}

/// What the key of a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It is a user's, in a card.
    Credential,
    /// A card pairs with it.
    CardPairing,
    /// A terminal pairs with it.
    TerminalPairing,
}

impl Purpose {
    /// The purpose's name in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::CardPairing => "card-pairing",
            Self::TerminalPairing => "terminal-pairing",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Credential, Self::CardPairing, Self::TerminalPairing]
            .into_iter()
            .find(|purpose| purpose.name() == name)
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
    /// What its key is for.
    pub purpose: Purpose,
    /// What is to be revoked.
    pub subject: Subject,
    /// Why, as RFC 5280 names it.
    pub reason: String,
}

/// The revocations that can be asked for, the oldest first.
pub fn queued(connection: &Connection) -> rusqlite::Result<Vec<RevocationRecord>> {
    select(connection, "queued")
}

/// The revocation of this number, if it can still be asked for.
pub fn find_queued(connection: &Connection, id: i64) -> rusqlite::Result<Option<RevocationRecord>> {
    let sql = format!("{COLUMNS} WHERE id = ?1 AND state = 'queued'");
    connection.prepare_cached(&sql)?.query_row([id], revocation).optional()
}

/// What an operator has to revoke elsewhere.
pub fn orphans(connection: &Connection) -> rusqlite::Result<Vec<RevocationRecord>> {
    select(connection, "orphan")
}

/// Queues a certificate.
pub fn queue_certificate(
    transaction: &Transaction<'_>,
    terminal: &Name,
    purpose: Purpose,
    certificate: &[u8],
    reason: Reason,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO revocations (terminal, purpose, certificate, reason, created_at)
        VALUES (?1, ?2, ?3, ?4, ?5)";
    transaction.execute(sql, params![terminal, purpose.name(), certificate, reason.name(), now()])?;
    Ok(())
}

/// Queues a request whose answer is not known; the revocation's number.
pub fn queue_request(
    transaction: &Transaction<'_>,
    terminal: &Name,
    purpose: Purpose,
    request: &[u8],
) -> rusqlite::Result<i64> {
    let sql = "INSERT INTO revocations (terminal, purpose, request, reason, created_at)
        VALUES (?1, ?2, ?3, ?4, ?5)";
    let reason = Reason::CessationOfOperation.name();
    transaction.execute(sql, params![terminal, purpose.name(), request, reason, now()])?;
    Ok(transaction.last_insert_rowid())
}

/// Takes out of the queue what was queued for this request (DER) of a terminal's pairing key, which is asked again; false if
/// nothing was.
pub fn withdraw_request(transaction: &Transaction<'_>, request: &[u8]) -> rusqlite::Result<bool> {
    let sql = "DELETE FROM revocations
        WHERE state = 'queued' AND purpose = 'terminal-pairing' AND request = ?1";
    Ok(transaction.execute(sql, [request])? > 0)
}

/// Takes this certificate (DER) of a terminal's pairing key out of the queue: it is in use after all.
pub fn withdraw_certificate(transaction: &Transaction<'_>, certificate: &[u8]) -> rusqlite::Result<()> {
    let sql = "DELETE FROM revocations
        WHERE state = 'queued' AND purpose = 'terminal-pairing' AND certificate = ?1";
    transaction.execute(sql, [certificate])?;
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

const COLUMNS: &str = "SELECT id, terminal, certificate, request, reason, purpose FROM revocations";

fn select(connection: &Connection, state: &str) -> rusqlite::Result<Vec<RevocationRecord>> {
    let sql = format!("{COLUMNS} WHERE state = ?1 ORDER BY id");
    connection.prepare_cached(&sql)?.query_map([state], revocation)?.collect()
}

fn revocation(row: &Row<'_>) -> rusqlite::Result<RevocationRecord> {
    let subject = match row.get(2)? {
        Some(certificate) => Subject::Certificate(certificate),
        None => Subject::Request(row.get(3)?),
    };
    let purpose = Purpose::from_name(row.get_ref(5)?.as_str()?).ok_or(FromSqlError::InvalidType)?;
    Ok(RevocationRecord { id: row.get(0)?, terminal: row.get(1)?, purpose, subject, reason: row.get(4)? })
}

fn now() -> i64 {
    Timestamp::now().as_second()
}
