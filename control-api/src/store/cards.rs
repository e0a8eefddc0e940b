//! Cards: their sealed state and the credentials that they report.
//!
//! ```text
//! insert ─▶ in-use ──commit that takes the last credential──▶ ending ──erase, forget──▶ (no row)
//! ```

use cardhost_wire::{
    control::{CardId, Commit, Credential, KeyCredential, RecordId, SealedRecord},
    profiles::Iccid,
    wrapping::WrappedCard,
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use uuid::Uuid;

use super::{
    certificates,
    columns::{self, time},
    revocations::{self, Purpose, Reason},
};
use crate::auth::name::Name;

/// Most sealed records of one card.
pub const MAX_RECORDS: usize = 1024;
/// Most sealed bytes of one card, all records together.
pub const MAX_SEALED: usize = 1024 * 1024;
/// Most credentials that a card can report.
pub const MAX_CREDENTIALS: usize = 64;

/// Where a card stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardState {
    /// It serves its terminal.
    InUse,
    /// Its last credential is gone; it waits for its destruction.
    Ending,
}

/// A card's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardRecord {
    /// Its terminal.
    pub terminal: Name,
    /// Its identity.
    pub card: CardId,
    /// Its key, wrapped by the launcher; empty once it is erased.
    pub wrapped_key: Vec<u8>,
    /// SHA-256 of the guest image that wrote its state last; at first the one it was made with.
    pub measurement: [u8; 32],
    /// Its last commit.
    pub epoch: u64,
    /// The sealed head of that commit, `None` before the first.
    pub head: Option<Vec<u8>>,
    /// Its answer to reset, once known.
    pub atr: Option<Vec<u8>>,
    /// Where it stands in its life.
    pub state: CardState,
    /// When it was made.
    pub created_at: Timestamp,
    /// Number of the newest revocation list of terminals that it accepted, 0 before the first; `None` until its pairing
    /// key is certified.
    pub revocations: Option<u64>,
}

impl CardRecord {
    /// The card with its key, as the launcher takes it.
    pub fn wrapped(&self) -> WrappedCard {
        WrappedCard {
            card: self.card,
            owner: self.terminal.sha256(),
            image: self.measurement,
            wrapped_key: self.wrapped_key.clone(),
        }
    }
}

/// What [`commit`] made of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It is stored.
    Stored {
        /// The card has no credential left and is ending now.
        last_credential_gone: bool,
    },
    /// Refused: its epoch is not the next one.
    WrongEpoch {
        /// The epoch that was due.
        due: u64,
    },
    /// Refused: the card would outgrow its bounds.
    TooLarge,
    /// Refused: the card is not in the store (any more).
    Absent,
}

const COLUMNS: &str =
    "SELECT terminal, card, wrapped_key, measurement, epoch, head, atr, state, created_at, revocations
    FROM cards";

/// The terminal's card.
pub fn find(connection: &Connection, terminal: &Name) -> rusqlite::Result<Option<CardRecord>> {
    let sql = format!("{COLUMNS} WHERE terminal = ?1");
    connection.prepare_cached(&sql)?.query_row([terminal], card).optional()
}

/// At most `limit` cards of the terminals after this name.
pub fn list(connection: &Connection, after: &str, limit: u32) -> rusqlite::Result<Vec<CardRecord>> {
    connection.prepare_cached(&list_sql())?.query_map(params![after, limit], card)?.collect()
}

pub(super) fn list_sql() -> String {
    format!("{COLUMNS} WHERE terminal > ?1 ORDER BY terminal LIMIT ?2")
}

/// The cards that wait for their destruction.
pub fn ending(connection: &Connection) -> rusqlite::Result<Vec<CardRecord>> {
    connection.prepare_cached(&ending_sql())?.query_map([], card)?.collect()
}

pub(super) fn ending_sql() -> String {
    format!("{COLUMNS} WHERE state = 'ending'")
}

/// Every card's identity, in order.
pub fn ids(connection: &Connection) -> rusqlite::Result<Vec<CardId>> {
    connection.prepare("SELECT card FROM cards ORDER BY card")?.query_map([], |row| row.get(0))?.collect()
}

/// What `read` makes of every card's identity, epoch and sealed head.
pub fn states<T>(
    connection: &Connection,
    read: impl Fn(CardId, u64, Option<&[u8]>) -> T,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = connection.prepare("SELECT card, epoch, head FROM cards")?;
    let rows = statement
        .query_map([], |row| Ok(read(row.get(0)?, row.get(1)?, row.get_ref(2)?.as_blob_or_null()?)))?;
    rows.collect()
}

/// How many cards another guest image than this one wrote last. Reads every card.
pub fn count_of_other_images(connection: &Connection, image: &[u8; 32]) -> rusqlite::Result<u32> {
    let sql = "SELECT count(*) FROM cards WHERE measurement <> ?1";
    connection.query_row(sql, [image], |row| row.get(0))
}

/// The cards that were destroyed, as their receipts say.
pub fn destroyed(connection: &Connection) -> rusqlite::Result<Vec<CardId>> {
    connection.prepare("SELECT card FROM receipts")?.query_map([], |row| row.get(0))?.collect()
}

/// True if there is a receipt of this card's destruction.
pub fn is_destroyed(connection: &Connection, card: &CardId) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM receipts WHERE card = ?1")?.exists([card])
}

/// Adds a card without state.
pub fn insert(transaction: &Transaction<'_>, card: &CardRecord) -> rusqlite::Result<()> {
    transaction.execute(
        "INSERT INTO cards (terminal, card, wrapped_key, measurement, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![card.terminal, card.card, card.wrapped_key, card.measurement, card.created_at.as_second()],
    )?;
    Ok(())
}

/// Notes what the guest said at a start.
pub fn note_atr(transaction: &Transaction<'_>, card: &CardId, atr: &[u8]) -> rusqlite::Result<()> {
    let sql = "UPDATE cards SET atr = ?2 WHERE card = ?1 AND atr IS NOT ?2";
    transaction.prepare_cached(sql)?.execute(params![card, atr])?;
    Ok(())
}

/// Marks a card for destruction.
pub fn end(transaction: &Transaction<'_>, card: &CardId) -> rusqlite::Result<()> {
    transaction.execute("UPDATE cards SET state = 'ending' WHERE card = ?1", [card])?;
    Ok(())
}

/// Erases what a card consists of: key, sealed records, credentials. Its row stays, as ending, until [`forget`].
pub fn erase(transaction: &Transaction<'_>, card: &CardId) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM records WHERE card = ?1", [card])?;
    transaction.execute("DELETE FROM credentials WHERE card = ?1", [card])?;
    transaction.execute("DELETE FROM profiles WHERE card = ?1", [card])?;
    let sql = "UPDATE cards SET state = 'ending', wrapped_key = x'', head = NULL, atr = NULL WHERE card = ?1";
    transaction.execute(sql, [card])?;
    Ok(())
}

/// Takes out a card's row, and all that may still hang on it.
pub fn forget(transaction: &Transaction<'_>, card: &CardId) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM cards WHERE card = ?1", [card])?;
    Ok(())
}

/// The card's sealed records.
pub fn records(connection: &Connection, card: &CardId) -> rusqlite::Result<Vec<SealedRecord>> {
    let mut statement = connection.prepare_cached("SELECT id, sealed FROM records WHERE card = ?1")?;
    let rows =
        statement.query_map([card], |row| Ok(SealedRecord { id: row.get(0)?, sealed: row.get(1)? }))?;
    rows.collect()
}

/// The card's credentials as it last reported them.
pub fn credentials(connection: &Connection, card: &CardId) -> rusqlite::Result<Vec<Credential>> {
    let keys = keys(connection, card)?.into_iter().map(Credential::Key);
    Ok(keys.chain(profiles(connection, card)?.into_iter().map(Credential::Profile)).collect())
}

/// The keys among them, by slot.
pub fn keys(connection: &Connection, card: &CardId) -> rusqlite::Result<Vec<KeyCredential>> {
    let sql =
        "SELECT key_reference, algorithm, public_key FROM credentials WHERE card = ?1 ORDER BY key_reference";
    connection.prepare_cached(sql)?.query_map([card], key)?.collect()
}

/// The profiles among them.
pub fn profiles(connection: &Connection, card: &CardId) -> rusqlite::Result<Vec<Iccid>> {
    let sql = "SELECT iccid FROM profiles WHERE card = ?1";
    connection.prepare_cached(sql)?.query_map([card], |row| columns::iccid(row, 0))?.collect()
}

/// How many credentials the card reported.
pub fn count_credentials(connection: &Connection, card: &CardId) -> rusqlite::Result<u32> {
    let sql = "SELECT (SELECT count(*) FROM credentials WHERE card = ?1)
        + (SELECT count(*) FROM profiles WHERE card = ?1)";
    connection.prepare_cached(sql)?.query_row([card], |row| row.get(0))
}

/// The key that this creation asked for, if the card made it.
pub fn credential_of(
    connection: &Connection,
    card: &CardId,
    intent: Uuid,
) -> rusqlite::Result<Option<KeyCredential>> {
    let sql = "SELECT key_reference, algorithm, public_key FROM credentials WHERE card = ?1 AND intent = ?2";
    connection.prepare_cached(sql)?.query_row(params![card, intent.to_string()], key).optional()
}

/// Stores a commit whole. Certificates of credentials that vanish are queued for revocation; when the last
/// credential vanishes the card is ending. New credentials are noted as made for `intent`.
pub fn commit(
    transaction: &Transaction<'_>,
    card: &CardId,
    commit: &Commit,
    intent: Option<Uuid>,
) -> rusqlite::Result<CommitOutcome> {
    let sql = "SELECT epoch FROM cards WHERE card = ?1";
    let stored: Option<u64> =
        transaction.prepare_cached(sql)?.query_row([card], |row| row.get(0)).optional()?;
    let Some(due) = stored.map(|epoch| epoch.saturating_add(1)) else { return Ok(CommitOutcome::Absent) };
    if commit.epoch != due {
        return Ok(CommitOutcome::WrongEpoch { due });
    }
    if !fits(transaction, card, commit)? {
        return Ok(CommitOutcome::TooLarge);
    }
    put_state(transaction, card, commit)?;
    let last_credential_gone = put_credentials(transaction, card, &commit.credentials, intent)?;
    Ok(CommitOutcome::Stored { last_credential_gone })
}

/// Checked before anything is written, so that a refusal leaves nothing half done.
fn fits(transaction: &Transaction<'_>, card: &CardId, commit: &Commit) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*), coalesce(sum(length(sealed)), 0) FROM records WHERE card = ?1";
    let (records, bytes): (usize, usize) =
        transaction.prepare_cached(sql)?.query_row([card], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let added: usize = commit.put.iter().map(|record| record.sealed.len()).sum();
    // An upper bound: what a put replaces or a delete frees is not subtracted.
    let roomy = records + commit.put.len() <= MAX_RECORDS && bytes + added <= MAX_SEALED;
    Ok(commit.credentials.len() <= MAX_CREDENTIALS && (roomy || fits_exactly(transaction, card, commit)?))
}

fn fits_exactly(transaction: &Transaction<'_>, card: &CardId, commit: &Commit) -> rusqlite::Result<bool> {
    let mut statement =
        transaction.prepare_cached("SELECT id, length(sealed) FROM records WHERE card = ?1")?;
    let rows = statement.query_map([card], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut sizes: std::collections::HashMap<RecordId, usize> = rows.collect::<Result<_, _>>()?;
    sizes.extend(commit.put.iter().map(|record| (record.id, record.sealed.len())));
    sizes.retain(|id, _| !commit.delete.contains(id));
    Ok(sizes.len() <= MAX_RECORDS && sizes.values().sum::<usize>() <= MAX_SEALED)
}

fn put_state(transaction: &Transaction<'_>, card: &CardId, commit: &Commit) -> rusqlite::Result<()> {
    let put = "INSERT INTO records (card, id, sealed) VALUES (?1, ?2, ?3)
        ON CONFLICT (card, id) DO UPDATE SET sealed = excluded.sealed";
    let mut put = transaction.prepare_cached(put)?;
    for record in &commit.put {
        put.execute(params![card, record.id, record.sealed])?;
    }
    let mut delete = transaction.prepare_cached("DELETE FROM records WHERE card = ?1 AND id = ?2")?;
    for id in &commit.delete {
        delete.execute(params![card, id])?;
    }
    let sql = "UPDATE cards SET epoch = ?2, head = ?3 WHERE card = ?1";
    transaction.prepare_cached(sql)?.execute(params![card, commit.epoch, commit.head])?;
    Ok(())
}

fn put_credentials(
    transaction: &Transaction<'_>,
    card: &CardId,
    now: &[Credential],
    intent: Option<Uuid>,
) -> rusqlite::Result<bool> {
    let before = credentials(transaction, card)?;
    if before == now {
        return Ok(false);
    }
    for gone in before.iter().filter(|credential| !now.contains(credential)) {
        match gone {
            Credential::Key(key) => forget_key(transaction, card, key)?,
            Credential::Profile(iccid) => forget_profile(transaction, card, *iccid)?,
        }
    }
    for new in now.iter().filter(|credential| !before.contains(credential)) {
        match new {
            Credential::Key(key) => put_key(transaction, card, key, intent)?,
            Credential::Profile(iccid) => put_profile(transaction, card, *iccid)?,
        }
    }
    let last_gone = now.is_empty() && !before.is_empty();
    if last_gone {
        end(transaction, card)?;
    }
    Ok(last_gone)
}

fn put_key(
    transaction: &Transaction<'_>,
    card: &CardId,
    key: &KeyCredential,
    intent: Option<Uuid>,
) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO credentials (card, key_reference, algorithm, public_key, intent)
        VALUES (?1, ?2, ?3, ?4, ?5)";
    let intent = intent.map(|intent| intent.to_string());
    let row = params![card, key.key_reference.0, key.algorithm.name(), key.public_key, intent];
    transaction.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

/// A card that reports one twice has one.
fn put_profile(transaction: &Transaction<'_>, card: &CardId, iccid: Iccid) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO profiles (card, iccid) VALUES (?1, ?2)";
    transaction.prepare_cached(sql)?.execute(params![card, iccid.to_string()])?;
    Ok(())
}

/// The key is no longer in the card: its certificate must not outlive it.
fn forget_key(transaction: &Transaction<'_>, card: &CardId, gone: &KeyCredential) -> rusqlite::Result<()> {
    if let Some(certificate) = certificates::of_slot(transaction, card, gone.key_reference)? {
        revocations::queue_certificate(
            transaction,
            &certificate.terminal,
            Purpose::Credential,
            &certificate.der,
            Reason::CessationOfOperation,
        )?;
        certificates::delete(transaction, certificate.id)?;
    }
    let sql = "DELETE FROM credentials WHERE card = ?1 AND key_reference = ?2";
    transaction.prepare_cached(sql)?.execute(params![card, gone.key_reference.0])?;
    Ok(())
}

fn forget_profile(transaction: &Transaction<'_>, card: &CardId, gone: Iccid) -> rusqlite::Result<()> {
    let sql = "DELETE FROM profiles WHERE card = ?1 AND iccid = ?2";
    transaction.prepare_cached(sql)?.execute(params![card, gone.to_string()])?;
    Ok(())
}

fn card(row: &Row<'_>) -> rusqlite::Result<CardRecord> {
    let ending = row.get_ref(7)?.as_str()? == "ending";
    Ok(CardRecord {
        terminal: row.get(0)?,
        card: row.get(1)?,
        wrapped_key: row.get(2)?,
        measurement: row.get(3)?,
        epoch: row.get(4)?,
        head: row.get(5)?,
        atr: row.get(6)?,
        state: if ending { CardState::Ending } else { CardState::InUse },
        created_at: time(row, 8)?,
        revocations: row.get(9)?,
    })
}

fn key(row: &Row<'_>) -> rusqlite::Result<KeyCredential> {
    Ok(KeyCredential {
        key_reference: columns::key_reference(row, 0)?,
        algorithm: columns::algorithm(row, 1)?,
        public_key: row.get(2)?,
    })
}
