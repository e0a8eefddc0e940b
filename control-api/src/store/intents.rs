//! Intents: what was begun across card, host and authority, written down before each remote step.
//!
//! The body is the life cycle's own JSON; the store only keeps it.

use jiff::Timestamp;
use rusqlite::{Connection, Row, Transaction, params};
use uuid::Uuid;

use super::columns;
use crate::auth::name::Name;

/// An intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntentRecord {
    /// Its identifier.
    pub id: Uuid,
    /// The terminal it concerns.
    pub terminal: Name,
    /// What was begun and how far it is, JSON.
    pub body: String,
}

/// Every open intent, the oldest first.
pub fn all(connection: &Connection) -> rusqlite::Result<Vec<IntentRecord>> {
    let sql = "SELECT id, terminal, body FROM intents ORDER BY created_at, id";
    connection.prepare_cached(sql)?.query_map([], intent)?.collect()
}

/// The terminal's open intents, the oldest first.
pub fn of_terminal(connection: &Connection, terminal: &Name) -> rusqlite::Result<Vec<IntentRecord>> {
    let sql = "SELECT id, terminal, body FROM intents WHERE terminal = ?1 ORDER BY created_at, id";
    connection.prepare_cached(sql)?.query_map([terminal], intent)?.collect()
}

/// Writes an intent down, or how far it is now.
pub fn put(transaction: &Transaction<'_>, intent: &IntentRecord) -> rusqlite::Result<()> {
    transaction.execute(
        "INSERT INTO intents (id, terminal, body, created_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (id) DO UPDATE SET body = excluded.body",
        params![intent.id.to_string(), intent.terminal, intent.body, Timestamp::now().as_second()],
    )?;
    Ok(())
}

/// The intent is fulfilled or undone.
pub fn delete(transaction: &Transaction<'_>, id: Uuid) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM intents WHERE id = ?1", [id.to_string()])?;
    Ok(())
}

fn intent(row: &Row<'_>) -> rusqlite::Result<IntentRecord> {
    Ok(IntentRecord { id: columns::uuid(row, 0)?, terminal: row.get(1)?, body: row.get(2)? })
}
