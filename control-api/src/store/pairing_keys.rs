//! Pairing keys of cards, on their way to their certificates.
//!
//! ```text
//! (no row) ──request──▶ requested ──issued──▶ issued ──certified: the card has it──▶ certified
//!              │ withdraw: surely not issued    │                                      │
//!              ▼                                └──────────────┬───────────────────────┘
//!          (no row) ◀─────────────────────── revoke: queues what was or may have been issued
//! ```

use cardhost_wire::control::CardId;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::{
    cards::CardRecord,
    revocations::{self, Purpose, Reason},
};

/// How far a card's pairing key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PairingKey {
    /// The authority may have issued on this request (DER).
    Requested(Vec<u8>),
    /// The certificate (DER) is here; the card may have it or not.
    Issued(Vec<u8>),
    /// The card has this certificate (DER).
    Certified(Vec<u8>),
}

/// How far the card's pairing key is, `None` if nothing was asked for it.
pub fn find(connection: &Connection, card: &CardId) -> rusqlite::Result<Option<PairingKey>> {
    let sql = "SELECT request, certificate FROM pairing_keys WHERE card = ?1";
    connection.prepare_cached(sql)?.query_row([card], pairing_key).optional()
}

/// The authority is about to be asked.
pub fn request(transaction: &Transaction<'_>, card: &CardId, request: &[u8]) -> rusqlite::Result<()> {
    let sql = "INSERT INTO pairing_keys (card, request) VALUES (?1, ?2)";
    transaction.execute(sql, params![card, request])?;
    Ok(())
}

/// The authority surely issued nothing.
pub fn withdraw(transaction: &Transaction<'_>, card: &CardId) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM pairing_keys WHERE card = ?1", [card])?;
    Ok(())
}

/// The authority issued this. False if the card is gone.
pub fn issued(transaction: &Transaction<'_>, card: &CardId, certificate: &[u8]) -> rusqlite::Result<bool> {
    let sql = "UPDATE pairing_keys SET certificate = ?2 WHERE card = ?1";
    Ok(transaction.execute(sql, params![card, certificate])? == 1)
}

/// The card has its certificate, and takes revocation lists from now on.
pub fn certified(transaction: &Transaction<'_>, card: &CardId) -> rusqlite::Result<()> {
    transaction.execute("UPDATE pairing_keys SET request = NULL WHERE card = ?1", [card])?;
    let sql = "UPDATE cards SET revocations = coalesce(revocations, 0) WHERE card = ?1";
    transaction.execute(sql, [card])?;
    Ok(())
}

/// An older state of the card was put back and accepted: it may lack the certificate, which it gets again, and the newest
/// revocation list.
pub fn restored(transaction: &Transaction<'_>, card: &CardId) -> rusqlite::Result<()> {
    let sql = "UPDATE pairing_keys SET request = coalesce(request, x'')
        WHERE card = ?1 AND certificate IS NOT NULL";
    transaction.execute(sql, [card])?;
    transaction.execute("UPDATE cards SET revocations = min(revocations, 0) WHERE card = ?1", [card])?;
    Ok(())
}

/// The card goes: queues what was issued for it, or may have been, for revocation.
pub fn revoke(transaction: &Transaction<'_>, card: &CardRecord) -> rusqlite::Result<()> {
    let (terminal, purpose) = (&card.terminal, Purpose::CardPairing);
    match find(transaction, &card.card)? {
        Some(PairingKey::Requested(request)) => {
            revocations::queue_request(transaction, terminal, purpose, &request)?;
        }
        Some(PairingKey::Issued(certificate) | PairingKey::Certified(certificate)) => {
            let reason = Reason::CessationOfOperation;
            revocations::queue_certificate(transaction, terminal, purpose, &certificate, reason)?;
        }
        None => {}
    }
    withdraw(transaction, &card.card)
}

fn pairing_key(row: &Row<'_>) -> rusqlite::Result<PairingKey> {
    let request: Option<Vec<u8>> = row.get(0)?;
    Ok(match (request, row.get(1)?) {
        (Some(_), Some(certificate)) => PairingKey::Issued(certificate),
        (None, Some(certificate)) => PairingKey::Certified(certificate),
        (request, None) => PairingKey::Requested(request.unwrap_or_default()),
    })
}
