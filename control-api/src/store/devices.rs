//! Devices of terminals: the client certificates that are accepted.

use jiff::Timestamp;
use rusqlite::params;

use super::{Store, StoreError, columns::time};
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
                let sql =
                    "SELECT fingerprint, expires_at FROM devices WHERE terminal = ?1 ORDER BY expires_at";
                let mut statement = connection.prepare_cached(sql)?;
                let rows = statement.query_map([&terminal], |row| {
                    let (fingerprint, expires_at) = (row.get(0)?, time(row, 1)?);
                    Ok(DeviceRecord { fingerprint, terminal: terminal.clone(), expires_at })
                })?;
                rows.collect()
            })
            .await
    }

    /// Accepts a device, at the wish of `by`.
    pub async fn insert(&self, by: Name, device: DeviceRecord) -> Result<(), StoreError> {
        let audit = self.audit.clone();
        self.store
            .write(move |transaction| {
                let sql = "INSERT INTO devices (fingerprint, terminal, expires_at) VALUES (?1, ?2, ?3)";
                let expires_at = device.expires_at.as_second();
                transaction.execute(sql, params![device.fingerprint, device.terminal, expires_at])?;
                let entry = Entry::new(Action::DeviceEnrolled).terminal(&device.terminal).user(&by);
                audit.append(transaction, &entry.detail("device", hex::encode(device.fingerprint)))
            })
            .await
    }

    /// Removes a terminal's device and ends its sessions, at the wish of `by`; false if there is no such one.
    pub async fn delete(
        &self,
        by: Name,
        terminal: Name,
        fingerprint: Fingerprint,
    ) -> Result<bool, StoreError> {
        let audit = self.audit.clone();
        self.store
            .write(move |transaction| {
                let sql = "DELETE FROM devices WHERE fingerprint = ?1 AND terminal = ?2";
                if transaction.execute(sql, params![fingerprint, terminal])? == 0 {
                    return Ok(false);
                }
                transaction.execute("DELETE FROM sessions WHERE device = ?1", [fingerprint])?;
                let entry = Entry::new(Action::DeviceDeleted).terminal(&terminal).user(&by);
                audit.append(transaction, &entry.detail("device", hex::encode(fingerprint)))?;
                Ok(true)
            })
            .await
    }
}
