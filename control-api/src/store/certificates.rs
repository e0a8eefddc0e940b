//! Certificates that the authority issued for credentials of cards.

use cardhost_wire::{
    control::CardId,
    key::{Algorithm, KeyReference},
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use uuid::Uuid;

use super::columns::{self, time};
use crate::auth::name::Name;

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRecord {
    /// Its name on the surface; it stays through renewals.
    pub id: Uuid,
    /// The terminal whose card holds the key.
    pub terminal: Name,
    /// That card.
    pub card: CardId,
    /// The slot of the key.
    pub key_reference: KeyReference,
    /// The key's algorithm.
    pub algorithm: Algorithm,
    /// SHA-256 of the key's SubjectPublicKeyInfo.
    pub public_key: [u8; 32],
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// When the first one of this name was issued.
    pub created_at: Timestamp,
}

const COLUMNS: &str =
    "SELECT id, terminal, card, key_reference, algorithm, public_key, der, created_at FROM certificates";

/// The terminal's certificates, by slot.
pub fn of_terminal(connection: &Connection, terminal: &Name) -> rusqlite::Result<Vec<CertificateRecord>> {
    let sql = format!("{COLUMNS} WHERE terminal = ?1 ORDER BY key_reference");
    connection.prepare_cached(&sql)?.query_map([terminal], certificate)?.collect()
}

/// The terminal's certificate of this name.
pub fn find(
    connection: &Connection,
    terminal: &Name,
    id: Uuid,
) -> rusqlite::Result<Option<CertificateRecord>> {
    let sql = format!("{COLUMNS} WHERE terminal = ?1 AND id = ?2");
    connection.prepare_cached(&sql)?.query_row(params![terminal, id.to_string()], certificate).optional()
}

/// The certificate of a slot.
pub fn of_slot(
    connection: &Connection,
    card: &CardId,
    key_reference: KeyReference,
) -> rusqlite::Result<Option<CertificateRecord>> {
    let sql = format!("{COLUMNS} WHERE card = ?1 AND key_reference = ?2");
    connection.prepare_cached(&sql)?.query_row(params![card, key_reference.0], certificate).optional()
}

/// Adds a certificate.
pub fn insert(transaction: &Transaction<'_>, new: &CertificateRecord) -> rusqlite::Result<()> {
    transaction.execute(
        "INSERT INTO certificates (id, terminal, card, key_reference, algorithm, public_key, der, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            new.id.to_string(),
            new.terminal,
            new.card,
            new.key_reference.0,
            new.algorithm.name(),
            new.public_key,
            new.der,
            new.created_at.as_second()
        ],
    )?;
    Ok(())
}

/// Puts a renewed certificate in the place of the old one; false if it is gone.
pub fn replace(transaction: &Transaction<'_>, id: Uuid, der: &[u8]) -> rusqlite::Result<bool> {
    let sql = "UPDATE certificates SET der = ?2 WHERE id = ?1";
    Ok(transaction.execute(sql, params![id.to_string(), der])? == 1)
}

/// Removes a certificate; false if it is gone.
pub fn delete(transaction: &Transaction<'_>, id: Uuid) -> rusqlite::Result<bool> {
    Ok(transaction.execute("DELETE FROM certificates WHERE id = ?1", [id.to_string()])? == 1)
}

fn certificate(row: &Row<'_>) -> rusqlite::Result<CertificateRecord> {
    Ok(CertificateRecord {
        id: columns::uuid(row, 0)?,
        terminal: row.get(1)?,
        card: row.get(2)?,
        key_reference: columns::key_reference(row, 3)?,
        algorithm: columns::algorithm(row, 4)?,
        public_key: row.get(5)?,
        der: row.get(6)?,
        created_at: time(row, 7)?,
    })
}
