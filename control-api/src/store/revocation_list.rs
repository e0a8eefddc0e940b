//! The newest revocation list of terminals.

use cardhost_wire::control::CardId;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use crate::pki::RevocationList;

/// The newest list, `None` before the first.
pub fn find(connection: &Connection) -> rusqlite::Result<Option<RevocationList>> {
    let row = |row: &rusqlite::Row<'_>| {
        let der: Vec<u8> = row.get(2)?;
        Ok(RevocationList { authority: row.get(0)?, number: row.get(1)?, der: der.into() })
    };
    let sql = "SELECT authority, number, list FROM revocation_list";
    connection.query_row(sql, [], row).optional()
}

/// Keeps a list; false if the one that is kept is the same authority's and not older.
pub fn keep(transaction: &Transaction<'_>, list: &RevocationList) -> rusqlite::Result<bool> {
    if find(transaction)?.is_some_and(|kept| !list.replaces(&kept)) {
        return Ok(false);
    }
    let sql = "INSERT OR REPLACE INTO revocation_list (one, authority, number, list) VALUES (1, ?1, ?2, ?3)";
    transaction.execute(sql, params![list.authority, list.number, &*list.der])?;
    Ok(true)
}

/// The card accepted the list of this number, or a newer one than ours.
pub fn accepted(transaction: &Transaction<'_>, card: &CardId, number: u64) -> rusqlite::Result<()> {
    let sql = "UPDATE cards SET revocations = max(coalesce(revocations, 0), ?2) WHERE card = ?1";
    transaction.prepare_cached(sql)?.execute(params![card, number])?;
    Ok(())
}
