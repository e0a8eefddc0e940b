//! Pairing keys of cards, on their way to their certificates.
//!
//! ```text
//! (no row) ──request──▶ requested ──issued──▶ issued ──certified: the card has it──▶ certified
//!              │ withdraw: surely not issued    │                                      │
//!              ▼                                └──────────────┬───────────────────────┘
//!          (no row) ◀─────────────────────── revoke: queues what was or may have been issued
//!
//! certified, due ──attempt──▶ tried again later ──renewed──▶ waiting for the card ──delivered──▶ certified
//! ```

use cardhost_wire::control::CardId;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::{
    cards::CardRecord,
    revocations::{self, Purpose, Reason},
};
use crate::auth::name::Name;

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

/// A card whose certificate is to be renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The card.
    pub card: CardId,
    /// Its terminal.
    pub terminal: Name,
    /// Its newest certificate, DER.
    pub certificate: Vec<u8>,
    /// The request (DER) that it is renewed with, if it is kept.
    pub request: Option<Vec<u8>>,
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

/// The card has its certificate, which is to be renewed then, and takes revocation lists from now on.
pub fn certified(transaction: &Transaction<'_>, card: &CardId, renew_at: Timestamp) -> rusqlite::Result<()> {
    let sql = "UPDATE pairing_keys SET request = NULL, renew_at = ?2,
            renewal_request = coalesce(nullif(request, x''), renewal_request)
        WHERE card = ?1";
    transaction.execute(sql, params![card, renew_at.as_second()])?;
    let sql = "UPDATE cards SET revocations = coalesce(revocations, 0) WHERE card = ?1";
    transaction.execute(sql, [card])?;
    Ok(())
}

/// At most `limit` cards in use whose certificates are to be renewed, the longest due first.
pub fn due(connection: &Connection, now: Timestamp, limit: u32) -> rusqlite::Result<Vec<Due>> {
    let due = |row: &Row<'_>| {
        let (card, terminal) = (row.get(0)?, row.get(1)?);
        Ok(Due { card, terminal, certificate: row.get(2)?, request: row.get(3)? })
    };
    connection.prepare_cached(DUE)?.query_map(params![now.as_second(), limit], due)?.collect()
}

pub(super) const DUE: &str = "SELECT keys.card, terminal, coalesce(renewed, certificate), renewal_request
    FROM pairing_keys AS keys JOIN cards ON cards.card = keys.card
    WHERE renew_at <= ?1 AND request IS NULL AND state = 'in-use' ORDER BY renew_at LIMIT ?2";

/// A renewal is about to be tried, and not again before `next`. False if the card is gone.
pub fn attempt(transaction: &Transaction<'_>, card: &CardId, next: Timestamp) -> rusqlite::Result<bool> {
    let sql = "UPDATE pairing_keys SET renew_at = ?2 WHERE card = ?1";
    Ok(transaction.execute(sql, params![card, next.as_second()])? == 1)
}

/// The card made this request, with which its certificate is renewed from now on.
pub fn keep_request(transaction: &Transaction<'_>, card: &CardId, request: &[u8]) -> rusqlite::Result<()> {
    let sql = "UPDATE pairing_keys SET renewal_request = ?2 WHERE card = ?1";
    transaction.execute(sql, params![card, request])?;
    Ok(())
}

/// The authority renewed the certificate, which waits for the card and is to be renewed itself then. False if the card is
/// gone.
pub fn renewed(
    transaction: &Transaction<'_>,
    card: &CardId,
    certificate: &[u8],
    renew_at: Timestamp,
) -> rusqlite::Result<bool> {
    let sql = "UPDATE pairing_keys SET renewed = ?2, renew_at = ?3 WHERE card = ?1";
    Ok(transaction.execute(sql, params![card, certificate, renew_at.as_second()])? == 1)
}

/// The certificate is not to be renewed any more.
pub fn end_renewal(transaction: &Transaction<'_>, card: &CardId) -> rusqlite::Result<()> {
    transaction.execute("UPDATE pairing_keys SET renew_at = NULL WHERE card = ?1", [card])?;
    Ok(())
}

/// The renewed certificate that waits for the card.
pub fn waiting(connection: &Connection, card: &CardId) -> rusqlite::Result<Option<Vec<u8>>> {
    let sql = "SELECT renewed FROM pairing_keys WHERE card = ?1";
    let renewed = |row: &Row<'_>| row.get::<_, Option<Vec<u8>>>(0);
    Ok(connection.prepare_cached(sql)?.query_row([card], renewed).optional()?.flatten())
}

/// The card has this renewed certificate.
pub fn delivered(transaction: &Transaction<'_>, card: &CardId, certificate: &[u8]) -> rusqlite::Result<()> {
    let sql =
        "UPDATE pairing_keys SET certificate = renewed, renewed = NULL WHERE card = ?1 AND renewed = ?2";
    transaction.execute(sql, params![card, certificate])?;
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

/// The card goes: queues what was issued for it, or may have been, for revocation. With one certificate of its key the
/// authority revokes all that it issued for it as a card's.
pub fn revoke(transaction: &Transaction<'_>, card: &CardRecord) -> rusqlite::Result<()> {
    let (terminal, purpose) = (&card.terminal, Purpose::CardPairing);
    if let Some(renewed) = waiting(transaction, &card.card)? {
        let reason = Reason::CessationOfOperation;
        revocations::queue_certificate(transaction, terminal, purpose, &renewed, reason)?;
    }
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
