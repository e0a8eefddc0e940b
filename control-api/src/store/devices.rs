//! Devices of terminals: the client certificates that are accepted.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::{
    Store, StoreError,
    columns::time,
    revocations::{self, Purpose, Reason},
};
use crate::{
    audit::{Action, Audit, Entry},
    auth::name::Name,
    server::Fingerprint,
};

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRecord {
    /// SHA-256 of its certificate.
    pub fingerprint: Fingerprint,
    /// The terminal it belongs to.
    pub terminal: Name,
    /// End of its certificate's validity.
    pub expires_at: Timestamp,
    /// The certificate of its pairing key, DER, if it has one.
    pub pairing_certificate: Option<Vec<u8>>,
}

/// The table of devices. Every change is an entry of the audit log.
#[derive(Clone)]
pub struct Devices {
    store: Store,
    audit: Audit,
}

impl Devices {
    /// The devices in this store.
    pub const fn new(store: Store, audit: Audit) -> Self {
        Self { store, audit }
    }

    /// The terminal's devices, the first to expire first.
    pub async fn list(&self, terminal: Name) -> Result<Vec<DeviceRecord>, StoreError> {
        self.store
            .read(move |connection| {
                let sql = "SELECT fingerprint, expires_at, pairing_certificate FROM devices
                    WHERE terminal = ?1 ORDER BY expires_at";
                let mut statement = connection.prepare_cached(sql)?;
                let rows = statement.query_map([&terminal], |row| {
                    Ok(DeviceRecord {
                        fingerprint: row.get(0)?,
                        terminal: terminal.clone(),
                        expires_at: time(row, 1)?,
                        pairing_certificate: row.get(2)?,
                    })
                })?;
                rows.collect()
            })
            .await
    }

    /// Removes a terminal's device, ends its sessions and queues the revocation of its pairing certificate, at the wish of
    /// `by`; false if there is no such one.
    pub async fn delete(
        &self,
        by: Name,
        terminal: Name,
        fingerprint: Fingerprint,
    ) -> Result<bool, StoreError> {
        let audit = self.audit.clone();
        self.store
            .write(move |transaction| {
                let sql = "DELETE FROM devices WHERE fingerprint = ?1 AND terminal = ?2
                    RETURNING pairing_certificate";
                let certificate =
                    transaction.query_row(sql, params![fingerprint, terminal], |row| row.get(0));
                let Some(certificate) = certificate.optional()? else { return Ok(false) };
                revoke_pairing(transaction, &terminal, certificate)?;
                transaction.execute("DELETE FROM sessions WHERE device = ?1", [fingerprint])?;
                let entry = Entry::new(Action::DeviceDeleted).terminal(&terminal).user(&by);
                audit.append(transaction, &entry.detail("device", hex::encode(fingerprint)))?;
                Ok(true)
            })
            .await
    }
}

/// Accepts a device, at the wish of `by`.
pub fn insert(
    transaction: &Transaction<'_>,
    audit: &Audit,
    by: &Name,
    device: &DeviceRecord,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO devices (fingerprint, terminal, expires_at, pairing_certificate)
        VALUES (?1, ?2, ?3, ?4)";
    let DeviceRecord { fingerprint, terminal, expires_at, pairing_certificate } = device;
    transaction.execute(sql, params![fingerprint, terminal, expires_at.as_second(), pairing_certificate])?;
    let entry = Entry::new(Action::DeviceEnrolled).terminal(terminal).user(by);
    let entry = entry.detail("device", hex::encode(fingerprint));
    audit.append(transaction, &entry.detail("pairs", pairing_certificate.is_some()))
}

/// Removes all devices of a terminal that goes, and queues the revocation of their pairing certificates.
pub(super) fn delete_all(transaction: &Transaction<'_>, terminal: &Name) -> rusqlite::Result<()> {
    let sql = "DELETE FROM devices WHERE terminal = ?1 RETURNING pairing_certificate";
    let mut statement = transaction.prepare(sql)?;
    let certificates: Vec<_> =
        statement.query_map([terminal], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    certificates.into_iter().try_for_each(|certificate| revoke_pairing(transaction, terminal, certificate))
}

fn revoke_pairing(
    transaction: &Transaction<'_>,
    terminal: &Name,
    certificate: Option<Vec<u8>>,
) -> rusqlite::Result<()> {
    let Some(certificate) = certificate else { return Ok(()) };
    let (purpose, reason) = (Purpose::TerminalPairing, Reason::CessationOfOperation);
    revocations::queue_certificate(transaction, terminal, purpose, &certificate, reason)
}
