//! What the authority must not forget: certificates and revocations, in SQLite.

use std::{path::Path, sync::Mutex};

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use rusqlite_migration::{M, Migrations};

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
        Migrations::new(vec![M::up(include_str!("schema.sql"))]).to_latest(&mut connection)?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    /// Stores an issued certificate. If this request had one already, that one is returned and nothing is stored.
    pub fn issue(&self, issued: &Issued, request_sha256: &[u8; 32]) -> Result<Issued, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        if let Some(earlier) = by_request(&transaction, request_sha256)? {
            return Ok(earlier);
        }
        transaction.execute(
            "INSERT INTO certificates (serial, der, subject, public_key, request_sha256, not_after) VALUES (?, ?, ?, ?, ?, ?)",
            params![issued.serial, issued.der, issued.subject, issued.public_key, request_sha256, issued.not_after],
        )?;
        transaction.commit()?;
        Ok(issued.clone())
    }

    /// The certificate that a request got.
    pub fn by_request(&self, request_sha256: &[u8; 32]) -> Result<Option<Issued>, StoreError> {
        by_request(&self.connection(), request_sha256)
    }

    /// The certificate with this serial number.
    pub fn by_serial(&self, serial: &[u8]) -> Result<Option<Issued>, StoreError> {
        let connection = self.connection();
        let sql = "SELECT * FROM certificates WHERE serial = ?";
        Ok(connection.query_row(sql, [serial], issued).optional()?)
    }

    /// True if this key has a certificate with this subject that is neither revoked nor expired at `now`.
    pub fn is_certified(&self, public_key: &[u8], subject: &str, now: i64) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM certificates WHERE public_key = ? AND subject = ? AND revoked_at IS NULL AND not_after > ?";
        let connection = self.connection();
        Ok(connection.prepare_cached(sql)?.exists(params![public_key, subject, now])?)
    }

    /// Revokes a certificate durably. True if it was revoked before.
    pub fn revoke(&self, serial: &[u8], revocation: &Revocation) -> Result<bool, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let sql =
            "UPDATE certificates SET revoked_at = ?, reason = ? WHERE serial = ? AND revoked_at IS NULL";
        let changed = transaction.execute(sql, params![revocation.at, revocation.reason, serial])?;
        if changed > 0 {
            transaction.execute("UPDATE crl SET number = number + 1", [])?;
        }
        transaction.commit()?;
        Ok(changed == 0)
    }

    /// The number of the current CRL, and what is on it.
    pub fn revoked(&self) -> Result<(u64, Vec<Issued>), StoreError> {
        let connection = self.connection();
        let number = connection.query_row("SELECT number FROM crl", [], |row| row.get::<_, i64>(0))?;
        let sql = "SELECT * FROM certificates WHERE revoked_at IS NOT NULL ORDER BY revoked_at";
        let revoked = connection.prepare_cached(sql)?.query_map([], issued)?.collect::<Result<_, _>>()?;
        Ok((number.unsigned_abs(), revoked))
    }

    fn connection(&self) -> std::sync::MutexGuard<'_, Connection> {
        // A panic elsewhere leaves no half transaction: dropping one rolls it back.
        self.connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn by_request(connection: &Connection, request_sha256: &[u8; 32]) -> Result<Option<Issued>, StoreError> {
    let sql = "SELECT * FROM certificates WHERE request_sha256 = ?";
    Ok(connection.query_row(sql, [request_sha256], issued).optional()?)
}

fn issued(row: &Row<'_>) -> rusqlite::Result<Issued> {
    let (at, reason): (Option<i64>, Option<String>) = (row.get("revoked_at")?, row.get("reason")?);
    Ok(Issued {
        serial: row.get("serial")?,
        der: row.get("der")?,
        subject: row.get("subject")?,
        public_key: row.get("public_key")?,
        not_after: row.get("not_after")?,
        revocation: at.map(|at| Revocation { at, reason: reason.unwrap_or_default() }),
    })
}
