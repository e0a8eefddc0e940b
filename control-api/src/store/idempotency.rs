//! Answers to creating requests, by their idempotency key.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::{Store, StoreError};

/// How long an answer is kept.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// Hash of user, path and key.
pub type IdempotencyId = [u8; 32];

/// What is known of a key when a request with it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Nothing: do the work.
    First,
    /// It was answered with this JSON.
    Answered(String),
    /// Its first request is still under way.
    UnderWay,
    /// It was used for another request.
    OtherRequest,
}

/// The table of answers.
#[derive(Clone)]
pub struct Idempotency(Store);

impl Idempotency {
    /// The answers in this store.
    pub const fn new(store: Store) -> Self {
        Self(store)
    }

    /// At the daemon's start nothing is under way: what was is left to the reconciliation of the life cycle.
    pub async fn forget_unanswered(&self) -> Result<(), StoreError> {
        self.0
            .write(|transaction| {
                transaction.execute("DELETE FROM idempotency WHERE answer IS NULL", [])?;
                Ok(())
            })
            .await
    }

    /// Notes that a request with this key and this HMAC of its body begins, unless the key is known.
    pub async fn begin(&self, id: IdempotencyId, body: [u8; 32]) -> Result<Beginning, StoreError> {
        self.0.write(move |transaction| begin(transaction, &id, &body)).await
    }

    /// Keeps the answer.
    pub async fn answered(&self, id: IdempotencyId, answer: String) -> Result<(), StoreError> {
        self.0
            .write(move |transaction| {
                transaction
                    .execute("UPDATE idempotency SET answer = ?2 WHERE id = ?1", params![id, answer])?;
                Ok(())
            })
            .await
    }

    /// The request failed: a repetition is a new try.
    pub async fn forget(&self, id: IdempotencyId) -> Result<(), StoreError> {
        self.0
            .write(move |transaction| {
                transaction.execute("DELETE FROM idempotency WHERE id = ?1", [id])?;
                Ok(())
            })
            .await
    }
}

fn begin(transaction: &Transaction<'_>, id: &IdempotencyId, body: &[u8; 32]) -> rusqlite::Result<Beginning> {
    let now = Timestamp::now();
    transaction.execute("DELETE FROM idempotency WHERE created_at <= ?1", [(now - KEPT).as_second()])?;
    let sql = "SELECT body, answer FROM idempotency WHERE id = ?1";
    let known: Option<([u8; 32], Option<String>)> =
        transaction.query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    match known {
        Some((known, _)) if known != *body => Ok(Beginning::OtherRequest),
        Some((_, Some(answer))) => Ok(Beginning::Answered(answer)),
        Some((_, None)) => Ok(Beginning::UnderWay),
        None => {
            let sql = "INSERT INTO idempotency (id, body, created_at) VALUES (?1, ?2, ?3)";
            transaction.execute(sql, params![id, body, now.as_second()])?;
            Ok(Beginning::First)
        }
    }
}
