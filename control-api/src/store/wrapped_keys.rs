//! The wrapped keys of cards, as rotations of the wrapping keys find and replace them.
//!
//! A bucket's cards are neighbours in the index over the cards' identities: none of this reads other cards, but for
//! the one search of format 1.

use cardhost_wire::{
    control::CardId,
    wrapping::{Bucket, WrappedCard, WrappingKey},
};
use rusqlite::{Connection, Row, Transaction, params};

use crate::auth::name::Name;

/// A wrapped key in the store, and what is to take its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The card.
    pub card: CardId,
    /// What stands there.
    pub earlier: Vec<u8>,
    /// What is to stand there.
    pub later: Vec<u8>,
}

const OF_BUCKET: &str = "SELECT card, terminal, measurement, wrapped_key FROM cards
    WHERE card > ?1 AND card <= ?2 AND wrapped_key <> x'' AND substr(wrapped_key, 1, 6) <> ?3
    ORDER BY card LIMIT ?4";
const FORMAT_1: &str = "SELECT card, terminal, measurement, wrapped_key FROM cards
    WHERE card > ?1 AND substr(wrapped_key, 1, 1) = x'01'
    ORDER BY card LIMIT ?2";

/// At most `limit` cards after `after` whose keys are to be wrapped anew: those of the bucket that are not under this
/// key of it; for [`Bucket::VERSION_1`] those of format 1.
pub fn stale(
    connection: &Connection,
    present: WrappingKey,
    after: &CardId,
    limit: usize,
) -> rusqlite::Result<Vec<WrappedCard>> {
    if present.bucket == Bucket::VERSION_1 {
        return connection.prepare_cached(FORMAT_1)?.query_map(params![after, limit], wrapped)?.collect();
    }
    let parameters = params![after, last_of(present.bucket), present.prefix(), limit];
    connection.prepare_cached(OF_BUCKET)?.query_map(parameters, wrapped)?.collect()
}

/// Below every card of this bucket.
pub fn before(bucket: Bucket) -> CardId {
    let below = (u128::from(bucket.0) << 120).saturating_sub(1);
    if bucket == Bucket::VERSION_1 { CardId::default() } else { below.to_be_bytes() }
}

fn last_of(bucket: Bucket) -> CardId {
    let mut last = [0xFF; 16];
    last[0] = bucket.0 as u8;
    last
}

/// How SQLite finds a bucket's cards, for people and tests.
pub fn plan(connection: &Connection, bucket: Bucket) -> rusqlite::Result<String> {
    let present = WrappingKey { bucket, generation: 0 };
    let parameters = params![before(bucket), last_of(bucket), present.prefix(), 1];
    connection.query_row(&format!("EXPLAIN QUERY PLAN {OF_BUCKET}"), parameters, |row| row.get(3))
}

/// Replaces a card's wrapped key. False if another one stands there by now: that one is later.
pub fn replace(transaction: &Transaction<'_>, replacement: &Replacement) -> rusqlite::Result<bool> {
    let sql = "UPDATE cards SET wrapped_key = ?3 WHERE card = ?1 AND wrapped_key = ?2";
    let Replacement { card, earlier, later } = replacement;
    Ok(transaction.prepare_cached(sql)?.execute(params![card, earlier, later])? == 1)
}

/// True if the key still stands there that the replacement was made from.
pub fn stands(connection: &Connection, replacement: &Replacement) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM cards WHERE card = ?1 AND wrapped_key = ?2";
    connection.prepare_cached(sql)?.exists(params![replacement.card, replacement.earlier])
}

/// Replaces a card's wrapped key, and notes that this guest image wrote the card's state last.
pub fn settle(
    transaction: &Transaction<'_>,
    replacement: &Replacement,
    image: &[u8; 32],
) -> rusqlite::Result<()> {
    let sql = "UPDATE cards SET wrapped_key = ?3, measurement = ?4 WHERE card = ?1 AND wrapped_key = ?2";
    let Replacement { card, earlier, later } = replacement;
    transaction.prepare_cached(sql)?.execute(params![card, earlier, later, image])?;
    Ok(())
}

fn wrapped(row: &Row<'_>) -> rusqlite::Result<WrappedCard> {
    let terminal: Name = row.get(1)?;
    Ok(WrappedCard {
        card: row.get(0)?,
        owner: terminal.sha256(),
        image: row.get(2)?,
        wrapped_key: row.get(3)?,
    })
}
