//! The anchor that the store goes with.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use crate::anchor::AnchorId;

/// What the store remembers of its anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Its identity.
    pub id: AnchorId,
    /// A batch of it that is durable. There may be later ones.
    pub sequence: u64,
}

/// The store's anchor, `None` before the first.
pub fn find(connection: &Connection) -> rusqlite::Result<Option<Remembered>> {
    let row = |row: &rusqlite::Row<'_>| Ok(Remembered { id: AnchorId(row.get(0)?), sequence: row.get(1)? });
    connection.query_row("SELECT id, sequence FROM anchor", [], row).optional()
}

/// The store goes with this anchor from now on.
pub fn put(transaction: &Transaction<'_>, anchor: &Remembered) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO anchor (one, id, sequence) VALUES (1, ?1, ?2)";
    transaction.execute(sql, params![anchor.id.0, anchor.sequence])?;
    Ok(())
}

/// This batch of the anchor is durable.
pub fn remember(transaction: &Transaction<'_>, sequence: u64) -> rusqlite::Result<()> {
    transaction.prepare_cached("UPDATE anchor SET sequence = ?1")?.execute([sequence])?;
    Ok(())
}
