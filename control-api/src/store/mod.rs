//! The host's durable store: one SQLite database.

mod columns;
pub mod devices;
pub mod idempotency;
pub mod sessions;
pub mod terminals;
pub mod users;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{Connection, Transaction};
use rusqlite_migration::{M, Migrations};
use tokio::task;

const MIGRATIONS: &[M<'_>] = &[M::up(
    "CREATE TABLE users (name TEXT PRIMARY KEY, role TEXT NOT NULL, password_hash TEXT NOT NULL) STRICT;
     CREATE TABLE terminals (name TEXT PRIMARY KEY, owner TEXT NOT NULL REFERENCES users (name)) STRICT;
     CREATE TABLE devices (fingerprint BLOB PRIMARY KEY, terminal TEXT NOT NULL REFERENCES terminals (name),
         expires_at INTEGER NOT NULL) STRICT;
     CREATE TABLE sessions (token_hash BLOB PRIMARY KEY, user TEXT NOT NULL REFERENCES users (name),
         device BLOB, expires_at INTEGER NOT NULL) STRICT;
     CREATE TABLE idempotency (id BLOB PRIMARY KEY, body BLOB NOT NULL, answer TEXT,
         created_at INTEGER NOT NULL) STRICT;
     CREATE TABLE cards (terminal TEXT PRIMARY KEY REFERENCES terminals (name)) STRICT;",
)];

/// The host's store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite refused.
    #[error("the store failed")]
    Sql(#[from] rusqlite::Error),
    /// The database is of a later version, or damaged.
    #[error("the store cannot be opened by this version")]
    Migration(#[from] rusqlite_migration::Error),
    /// The work on the store panicked.
    #[error("work on the store was abandoned")]
    Abandoned(#[from] task::JoinError),
}

/// A handle of the store.
#[derive(Clone)]
pub struct Store(Arc<Mutex<Connection>>);

impl Store {
    /// Opens the database, made if it is not there.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut connection = Connection::open(path)?;
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON;")?;
        Migrations::from_slice(MIGRATIONS).to_latest(&mut connection)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Reads.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.blocking(move |connection| work(connection)).await
    }

    /// Writes in one transaction.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.blocking(move |connection| {
            let transaction = connection.transaction()?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let connection = self.0.clone();
        let work = move || work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(task::spawn_blocking(work).await??)
    }
}
