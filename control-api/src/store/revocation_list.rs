//! The newest revocation list of the pairing authority.

use cardhost_wire::control::CardId;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use crate::pki::RevocationList;

/// The newest list, `None` before the first.
pub fn find(connection: &Connection) -> rusqlite::Result<Option<RevocationList>> {
    let row = |row: &rusqlite::Row<'_>| {
        let der: Vec<u8> = row.get(1)?;
        Ok(RevocationList { number: row.get(0)?, der: der.into() })
    };
    connection.query_row("SELECT number, list FROM revocation_list", [], row).optional()
}

/// Keeps a list; false if the one that is kept is not older.
pub fn keep(transaction: &Transaction<'_>, list: &RevocationList) -> rusqlite::Result<bool> {
    let sql = "INSERT INTO revocation_list (one, number, list) VALUES (1, ?1, ?2)
        ON CONFLICT (one) DO UPDATE SET number = excluded.number, list = excluded.list
        WHERE excluded.number > number";
    Ok(transaction.execute(sql, params![list.number, &*list.der])? == 1)
}

/// The card accepted the list of this number, or a newer one than ours.
pub fn accepted(transaction: &Transaction<'_>, card: &CardId, number: u64) -> rusqlite::Result<()> {
    let sql = "UPDATE cards SET revocations = max(coalesce(revocations, 0), ?2) WHERE card = ?1";
    transaction.prepare_cached(sql)?.execute(params![card, number])?;
    Ok(())
}
