//! What the authority must not forget: certificates and revocations, in SQLite.

mod columns;

use std::{path::Path, sync::Mutex};

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use rusqlite_migration::{M, Migrations};

use crate::ca::CaName;
use columns::issued;

const MIGRATIONS: &[M<'_>] = &[
    M::up(include_str!("schema/v1.sql")),
    M::up(include_str!("schema/v2.sql")),
    M::up(include_str!("schema/v3.sql")),
];
/// Entries of the list of terminals, more of which a card does not take. Certificates that expired make room.
const PAIRING_ENTRIES: u32 = 1024;
/// An expired certificate stays on the list until one was issued beyond its validity (RFC 5280, 3.3).
const LISTED_AFTER_EXPIRY: i64 = 2 * 24 * 60 * 60;

/// The store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite refuses.
    #[error("the authority's database")]
    Database(#[from] rusqlite::Error),
    /// The schema cannot be brought to this version.
    #[error("the authority's database is of another version")]
    Migration(#[from] rusqlite_migration::Error),
}

/// A certificate as it was issued, and whether it was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Who issued it.
    pub ca: CaName,
    /// Its serial number's bytes.
    pub serial: Vec<u8>,
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// Its subject, RFC 4514.
    pub subject: String,
    /// Its SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    /// End of validity.
    pub not_after: i64,
    /// When and why it was revoked.
    pub revocation: Option<Revocation>,
}

/// A revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// When.
    pub at: i64,
    /// RFC 5280, 5.3.1, as text.
    pub reason: String,
}

/// The database.
pub struct Store {
    connection: Mutex<Connection>,
}

impl Store {
    /// Opens or makes the database.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        Migrations::from_slice(MIGRATIONS).to_latest(&mut connection)?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    /// Stores an issued certificate. If this request has a valid one already, that one is returned and nothing is
    /// stored.
    pub fn issue(&self, issued: &Issued, request_sha256: &[u8; 32], now: i64) -> Result<Issued, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        if let Some(earlier) = by_request(&transaction, request_sha256, now)? {
            return Ok(earlier);
        }
        let forget = "UPDATE certificates SET request_sha256 = NULL WHERE request_sha256 = ?";
        transaction.execute(forget, [request_sha256])?;
        insert(&transaction, issued, request_sha256)?;
        transaction.commit()?;
        Ok(issued.clone())
    }

    /// The certificate that a request got, unless it was revoked or has expired at `now`.
    pub fn by_request(&self, request_sha256: &[u8; 32], now: i64) -> Result<Option<Issued>, StoreError> {
        by_request(&self.connection(), request_sha256, now)
    }

    /// The certificate with this serial number.
    pub fn by_serial(&self, serial: &[u8]) -> Result<Option<Issued>, StoreError> {
        let connection = self.connection();
        let sql = "SELECT * FROM certificates WHERE serial = ?";
        Ok(connection.query_row(sql, [serial], issued).optional()?)
    }

    /// True if this authority certified this key with this subject, and the certificate is not revoked and was valid after
    /// `since`.
    pub fn is_certified(
        &self,
        ca: CaName,
        public_key: &[u8],
        subject: &str,
        since: i64,
    ) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM certificates
            WHERE ca = ? AND public_key = ? AND subject = ? AND revoked_at IS NULL AND not_after > ?";
        let connection = self.connection();
        Ok(connection.prepare_cached(sql)?.exists(params![ca.name(), public_key, subject, since])?)
    }

    /// Revokes a certificate durably. True if it was revoked before.
    ///
    /// Of a card's pairing key each certificate is revoked: a renewal leaves the earlier ones valid, and terminals know the
    /// card by the one that it had when they paired.
    pub fn revoke(&self, issued: &Issued, revocation: &Revocation) -> Result<bool, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let sql = "UPDATE certificates SET revoked_at = ?1, reason = ?2
            WHERE revoked_at IS NULL AND ca = ?3 AND (serial = ?4 OR (?3 = 'pairing-cards' AND public_key = ?5))";
        let Revocation { at, reason } = revocation;
        let certificate = params![at, reason, issued.ca.name(), issued.serial, issued.public_key];
        let changed = transaction.execute(sql, certificate)?;
        if changed > 0 {
            if issued.ca == CaName::PairingTerminals {
                make_room(&transaction, revocation.at)?;
            }
            // None of cards.
            transaction.execute("UPDATE crl SET number = number + 1 WHERE ca = ?", [issued.ca.name()])?;
        }
        transaction.commit()?;
        Ok(changed == 0)
    }

    /// The number of an authority's current CRL, and what is on it.
    pub fn revoked(&self, ca: CaName) -> Result<(u64, Vec<Issued>), StoreError> {
        let connection = self.connection();
        let sql = "SELECT number FROM crl WHERE ca = ?";
        let number = connection.query_row(sql, [ca.name()], |row| row.get::<_, i64>(0))?;
        let sql = "SELECT * FROM certificates
            WHERE ca = ? AND revoked_at IS NOT NULL AND listed = 1 ORDER BY revoked_at";
        let mut listed = connection.prepare_cached(sql)?;
        let revoked = listed.query_map([ca.name()], issued)?.collect::<Result<_, _>>()?;
        Ok((number.unsigned_abs(), revoked))
    }

    fn connection(&self) -> std::sync::MutexGuard<'_, Connection> {
        // A panic elsewhere leaves no half transaction: dropping one rolls it back.
        self.connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn insert(transaction: &Transaction<'_>, issued: &Issued, request_sha256: &[u8; 32]) -> rusqlite::Result<()> {
    let sql = "INSERT INTO certificates (ca, serial, der, subject, public_key, request_sha256, not_after)
        VALUES (?, ?, ?, ?, ?, ?, ?)";
    let Issued { ca, serial, der, subject, public_key, not_after, .. } = issued;
    transaction
        .execute(sql, params![ca.name(), serial, der, subject, public_key, request_sha256, not_after])?;
    Ok(())
}

/// Takes certificates off the list of terminals that have expired, the first to expire first, as far as it is too long. No
/// more than that: a card has no clock, and takes what is not listed for good.
fn make_room(transaction: &Transaction<'_>, now: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE certificates SET listed = 0 WHERE serial IN (
        SELECT serial FROM certificates
        WHERE ca = 'pairing-terminals' AND revoked_at IS NOT NULL AND listed = 1 AND not_after < ?1
        ORDER BY not_after
        LIMIT max(0, (SELECT count(*) FROM certificates
            WHERE ca = 'pairing-terminals' AND revoked_at IS NOT NULL AND listed = 1) - ?2))";
    transaction.execute(sql, params![now - LISTED_AFTER_EXPIRY, PAIRING_ENTRIES])?;
    Ok(())
}

fn by_request(
    connection: &Connection,
    request_sha256: &[u8; 32],
    now: i64,
) -> Result<Option<Issued>, StoreError> {
    let sql = "SELECT * FROM certificates WHERE request_sha256 = ? AND revoked_at IS NULL AND not_after > ?";
    Ok(connection.query_row(sql, params![request_sha256, now], issued).optional()?)
}

#[cfg(test)]
mod tests;
