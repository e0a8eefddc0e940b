//! Receipts: the host's signed statement that it destroyed a card.

use cardhost_wire::{
    control::CardId,
    wrapping::{Bucket, WrappingKey},
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Audit, SigningKey};
use crate::{auth::name::Name, store::cards::CardRecord};

pub(super) const DOMAIN: &[u8] = b"cardhost receipt v1\0";

const DESTROYED: [&str; 4] = [
    "the card's process, whose memory the host's kernel took back",
    "the card's wrapped key in the host's store",
    "the card's sealed state in the host's store",
    "the list of the card's credentials in the host's store",
];
const LOG: &str = "the log of the host's store, which was emptied after that";
const WRAPPING_KEY: &str = "every key that wrapped the card's key, in the launcher's memory and in its file: the host's \
    present keys open no earlier copy of the wrapped key";
const CANNOT_KNOW: [&str; 4] = [
    "copies of the store and of the host key's file made outside of the host: backups, snapshots, disk images",
    "remains that the file system or the storage device keeps below these files, where overwriting does not reach: \
     journals, remapped blocks",
    "memory that the host's kernel swapped out, that was dumped, or that the kernel has not overwritten yet",
    "what the card's process, or who could read its memory, gave away before",
];
const MEANING: &str =
    "The host states and signs what it did. That is its word, not proof of physical erasure.";

/// What is stated about a destroyed card. Fields stand in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destruction {
    /// What the host cannot know of.
    pub cannot_know: Vec<String>,
    /// The card's identity, hexadecimal.
    #[serde(with = "hex")]
    pub card: CardId,
    /// When the card was made.
    pub created_at: Timestamp,
    /// What the host destroyed.
    pub destroyed: Vec<String>,
    /// When it was destroyed.
    pub destroyed_at: Timestamp,
    /// The card's last commit.
    pub epoch: u64,
    /// The receipt's identifier.
    pub id: Uuid,
    /// SHA-256 of the guest image, hexadecimal.
    #[serde(with = "hex")]
    pub image: [u8; 32],
    /// What the statement is, and what it is not. The first receipts do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meaning: Option<String>,
    /// The terminal it belonged to.
    pub terminal: Name,
    /// The wrapping keys that were retired. The first receipts state none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapping_keys: Option<RetiredKeys>,
}

/// The wrapping keys that were destroyed with a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetiredKeys {
    /// Whose keys they wrapped.
    pub bucket: u16,
    /// All generations up to this one, which is the last that ever wrapped the card's key, are destroyed.
    pub up_to_generation: u32,
}

impl Destruction {
    /// The statement for this card, destroyed now. Its bucket's key is `present` by now, and the store's log was
    /// emptied or not.
    pub fn now(card: &CardRecord, present: WrappingKey, log_emptied: bool) -> Self {
        let destroyed = DESTROYED.into_iter().chain(log_emptied.then_some(LOG)).chain([WRAPPING_KEY]);
        let WrappingKey { bucket: Bucket(bucket), generation } = present;
        Self {
            cannot_know: CANNOT_KNOW.map(String::from).into(),
            card: card.card,
            created_at: card.created_at,
            destroyed: destroyed.map(String::from).collect(),
            destroyed_at: Timestamp::now(),
            epoch: card.epoch,
            id: Uuid::new_v4(),
            image: card.measurement,
            meaning: Some(MEANING.into()),
            terminal: card.terminal.clone(),
            wrapping_keys: Some(RetiredKeys { bucket, up_to_generation: generation.saturating_sub(1) }),
        }
    }
}

/// A signed statement. It is the host's word, not proof of physical erasure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The receipt's identifier.
    pub id: Uuid,
    /// The terminal it concerns.
    pub terminal: Name,
    /// The exact JSON text of a [`Destruction`] that was signed.
    pub statement: String,
    /// Ed25519 over the statement.
    #[serde(with = "hex")]
    pub signature: Vec<u8>,
    /// The signing key, 32 bytes.
    #[serde(with = "hex")]
    pub public_key: Vec<u8>,
}

impl Audit {
    /// Signs and stores a receipt, in the transaction of the destruction.
    pub fn issue_receipt(
        &self,
        transaction: &Transaction<'_>,
        destruction: &Destruction,
    ) -> rusqlite::Result<Receipt> {
        let statement = serde_json::to_string(destruction).expect("names and texts are JSON");
        let signature = self.key().sign(&signed_bytes(&statement));
        let sql =
            "INSERT INTO receipts (id, terminal, card, statement, signature) VALUES (?1, ?2, ?3, ?4, ?5)";
        let id = destruction.id.to_string();
        transaction
            .execute(sql, params![id, destruction.terminal, destruction.card, statement, signature])?;
        let public_key = self.key().public().to_vec();
        Ok(Receipt {
            id: destruction.id,
            terminal: destruction.terminal.clone(),
            statement,
            signature,
            public_key,
        })
    }

    /// The receipt of this identifier.
    pub fn receipt(&self, connection: &Connection, id: Uuid) -> rusqlite::Result<Option<Receipt>> {
        let sql = "SELECT id, terminal, statement, signature FROM receipts WHERE id = ?1";
        connection.query_row(sql, [id.to_string()], |row| receipt(row, self.key())).optional()
    }

    /// The receipt of this card.
    pub fn receipt_of(&self, connection: &Connection, card: &CardId) -> rusqlite::Result<Option<Receipt>> {
        let sql = "SELECT id, terminal, statement, signature FROM receipts WHERE card = ?1";
        connection.query_row(sql, [card], |row| receipt(row, self.key())).optional()
    }
}

pub(super) fn signed_bytes(statement: &str) -> Vec<u8> {
    [DOMAIN, statement.as_bytes()].concat()
}

fn receipt(row: &Row<'_>, key: &SigningKey) -> rusqlite::Result<Receipt> {
    let id = row.get_ref(0)?.as_str()?.parse().map_err(rusqlite::types::FromSqlError::other)?;
    let public_key = key.public().to_vec();
    Ok(Receipt { id, terminal: row.get(1)?, statement: row.get(2)?, signature: row.get(3)?, public_key })
}
