//! The host's durable store: one SQLite database, one writer.
//!
//! Writes queue for the writer thread, which puts those that wait into one transaction: one `fdatasync` makes a
//! whole group durable, and each caller gets its own answer after it. A write that fails leaves the others
//! of its group untouched. Reads run beside it on a few connections of their own (WAL).
//!
//! A full disk and another process that holds the database refuse writes and end nothing: reads go on, and the next
//! write is tried again ([`StoreError::condition`]).
//!
//! `secure_delete` overwrites what is deleted in the database file; [`Store::scrub`] empties the log as well. What a
//! crash or a full disk kept from being scrubbed is scrubbed later, at the next start at the latest.

pub mod anchor;
pub mod cards;
pub mod certificates;
mod columns;
pub mod devices;
pub mod idempotency;
pub mod intents;
pub mod pairing_keys;
pub mod quotas;
pub mod revocation_list;
pub mod revocations;
pub mod sessions;
pub mod terminals;
pub mod users;
pub mod wrapped_keys;
mod writer;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{Connection, ErrorCode, Transaction};
use rusqlite_migration::{M, Migrations};
use tokio::{
    sync::{Semaphore, oneshot},
    task,
};

use writer::Writer;

const MIGRATIONS: &[M<'_>] = &[
    M::up(include_str!("schema/v1.sql")),
    M::up(include_str!("schema/v2.sql")),
    M::up(include_str!("schema/v3.sql")),
    M::up(include_str!("schema/v4.sql")),
    M::up(include_str!("schema/v5.sql")),
];
/// Connections that read.
const READERS: usize = 4;
const PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
    PRAGMA secure_delete = ON; PRAGMA busy_timeout = 5000; PRAGMA temp_store = MEMORY;";

/// The host's store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite refused.
    #[error("the store failed")]
    Sql(#[from] rusqlite::Error),
    /// The database is of a later version, or damaged.
    #[error("the store cannot be opened by this version")]
    Migration(#[from] rusqlite_migration::Error),
    /// The group that the write belonged to could not be made durable; nothing of it was written.
    #[error("the store could not make the write durable")]
    NotDurable(#[source] Arc<rusqlite::Error>),
    /// The work on the store panicked, or the store is closed.
    #[error("work on the store was abandoned")]
    Abandoned,
    /// The writer's thread could not be started.
    #[error("the store's thread does not start")]
    Thread(#[source] std::io::Error),
}

/// What stands in the way of a store that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Its file system is full.
    Full,
    /// Another process holds the database, or the disk fails; it may be better later.
    Unavailable,
    /// Something else: a bug, or a database that is damaged.
    Broken,
}

impl StoreError {
    /// What stands in the way. Nothing of the write is stored, whichever it is.
    pub fn condition(&self) -> Condition {
        let code = match self {
            Self::Sql(error) => error.sqlite_error_code(),
            Self::NotDurable(error) => error.sqlite_error_code(),
            Self::Migration(_) | Self::Abandoned | Self::Thread(_) => None,
        };
        match code {
            Some(ErrorCode::DiskFull) => Condition::Full,
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OperationAborted
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen,
            ) => Condition::Unavailable,
            _ => Condition::Broken,
        }
    }
}

/// A handle of the store.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    writer: Writer,
    readers: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

impl Store {
    /// Opens the database, made if it is not there.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut connection = connect(path)?;
        Migrations::from_slice(MIGRATIONS).to_latest(&mut connection)?;
        let readers = (0..READERS).map(|_| connect(path)).collect::<Result<Vec<_>, _>>()?;
        let shared = Shared {
            writer: Writer::start(connection)?,
            readers: Mutex::new(readers),
            permits: Semaphore::new(READERS),
        };
        Ok(Self(Arc::new(shared)))
    }

    /// Reads.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _permit = self.0.permits.acquire().await.map_err(|_| StoreError::Abandoned)?;
        let shared = self.0.clone();
        let read = task::spawn_blocking(move || {
            let lent = Lent::take(&shared).ok_or(StoreError::Abandoned)?;
            Ok(work(lent.connection())?)
        });
        read.await.map_err(|_| StoreError::Abandoned)?
    }

    /// Writes: all or nothing, and durable when it returns. `work` runs once, in order with other writes.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.0.writer.submit(work, answer).await?;
        answered.await.map_err(|_| StoreError::Abandoned)?
    }

    /// Writes the log back into the database file and empties it, so that deleted content stands in neither. False if
    /// another connection kept it from being emptied: then it is emptied as soon as possible.
    pub async fn scrub(&self) -> Result<bool, StoreError> {
        self.0.writer.scrub().await
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.execute_batch(PRAGMAS)?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(connection)
}

/// A reading connection that goes back to the pool, also when the work panics.
struct Lent<'a> {
    shared: &'a Shared,
    connection: Option<Connection>,
}

impl<'a> Lent<'a> {
    fn take(shared: &'a Shared) -> Option<Self> {
        let connection = shared.readers.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        Some(Self { shared, connection: Some(connection) })
    }

    fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("present until drop")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let back = self.connection.take();
        self.shared.readers.lock().unwrap_or_else(PoisonError::into_inner).extend(back);
    }
}
