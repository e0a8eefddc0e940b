//! How a certificate stands in a row.

use rusqlite::{Row, types::FromSqlError};

use super::{Issued, Revocation};
use crate::ca::CaName;

/// The certificate in a row of `certificates`.
pub fn issued(row: &Row<'_>) -> rusqlite::Result<Issued> {
    let (at, reason): (Option<i64>, Option<String>) = (row.get("revoked_at")?, row.get("reason")?);
    let ca: String = row.get("ca")?;
    Ok(Issued {
        ca: CaName::from_name(&ca).ok_or(FromSqlError::InvalidType)?,
        serial: row.get("serial")?,
        der: row.get("der")?,
        subject: row.get("subject")?,
        public_key: row.get("public_key")?,
        not_after: row.get("not_after")?,
        revocation: at.map(|at| Revocation { at, reason: reason.unwrap_or_default() }),
    })
}
