//! Checks a log and receipts with the public key alone.

use ring::signature::{ED25519, UnparsedPublicKey};
use rusqlite::Connection;

use super::{Destruction, Link, Receipt, chained, link, receipt, signed_bytes};

/// Where a log or a receipt is not what the host wrote.
#[derive(Debug, thiserror::Error)]
pub enum AuditFault {
    /// An entry is missing, or stands twice.
    #[error("entry {expected} is missing: {found} stands in its place")]
    Gap {
        /// The sequence number that was due.
        expected: u64,
        /// The one that is there.
        found: u64,
    },
    /// An entry, or one before it, was changed.
    #[error("entry {0} does not fit the chain")]
    Chain(u64),
    /// An entry was not signed by this key.
    #[error("the signature of entry {0} is not by this host")]
    Signature(u64),
    /// A receipt's statement is not one.
    #[error("the receipt's statement is malformed")]
    Statement(#[source] serde_json::Error),
    /// A receipt was not signed by this key.
    #[error("the receipt is not by this host")]
    ReceiptSignature,
    /// The database cannot be read.
    #[error("the audit log cannot be read")]
    Unreadable(#[from] rusqlite::Error),
}

/// Checks a whole log from its first entry; gives the number of entries.
pub fn verify(links: impl IntoIterator<Item = Link>, public_key: &[u8]) -> Result<u64, AuditFault> {
    let (mut last, mut previous) = (0, [0; 32]);
    for link in links {
        previous = check(&link, last + 1, &previous, public_key)?;
        last = link.sequence;
    }
    Ok(last)
}

/// Checks the log in a store's database, which no daemon needs to serve.
pub fn verify_database(connection: &Connection, public_key: &[u8]) -> Result<u64, AuditFault> {
    let mut statement =
        connection.prepare("SELECT sequence, entry, hash, signature FROM audit ORDER BY sequence")?;
    let (mut last, mut previous) = (0, [0; 32]);
    for row in statement.query_map([], link)? {
        let link = row?;
        previous = check(&link, last + 1, &previous, public_key)?;
        last = link.sequence;
    }
    Ok(last)
}

/// Checks a receipt and reads its statement.
pub fn verify_receipt(receipt: &Receipt, public_key: &[u8]) -> Result<Destruction, AuditFault> {
    let message = receipt::signed_bytes(&receipt.statement);
    let key = UnparsedPublicKey::new(&ED25519, public_key);
    key.verify(&message, &receipt.signature).map_err(|_| AuditFault::ReceiptSignature)?;
    serde_json::from_str(&receipt.statement).map_err(AuditFault::Statement)
}

fn check(link: &Link, expected: u64, previous: &[u8; 32], public_key: &[u8]) -> Result<[u8; 32], AuditFault> {
    if link.sequence != expected {
        return Err(AuditFault::Gap { expected, found: link.sequence });
    }
    if chained(previous, &link.entry) != link.hash {
        return Err(AuditFault::Chain(expected));
    }
    let key = UnparsedPublicKey::new(&ED25519, public_key);
    key.verify(&signed_bytes(expected, &link.hash), &link.signature)
        .map_err(|_| AuditFault::Signature(expected))?;
    Ok(link.hash)
}
