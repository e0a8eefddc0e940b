//! The writer: a thread that owns the writing connection and commits in groups.
//!
//! ```text
//! jobs ─▶ group ─▶ begin ─▶ each write in its savepoint ─▶ commit: one sync ─▶ each caller's answer
//!                    │ locked, full: every write of the group is told so
//!                    └─ SQLite rolled the whole transaction back: those done are told so, the rest begins another
//! ```
//!
//! Whatever the disk or another process does, each write is answered and the next group is tried.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use rusqlite::{Connection, Transaction, TransactionBehavior, ffi};
use tokio::sync::{mpsc, oneshot};

use super::StoreError;

/// Writes that may wait.
const QUEUE: usize = 1024;
/// Writes in one transaction.
const GROUP: usize = 256;

/// Why a group is not durable; each of its writes is told.
type Failure = Arc<rusqlite::Error>;
/// Told how the commit of the group went.
type Completion = Box<dyn FnOnce(Result<(), Failure>) + Send>;
/// Runs inside the transaction, or is told why there is none. `None` if it was answered already.
type Work = Box<dyn FnOnce(Result<&Transaction<'_>, Failure>) -> Option<Completion> + Send>;

enum Job {
    Write(Work),
    Scrub(oneshot::Sender<Result<bool, StoreError>>),
}

/// Where writes are submitted; the thread ends when the last handle is gone.
pub(super) struct Writer(mpsc::Sender<Job>);

impl Writer {
    pub(super) fn start(connection: Connection) -> Result<Self, StoreError> {
        let (sender, jobs) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new().name("store".into());
        // A crash may have come between an erasure and its scrub.
        let writer = Thread { connection, scrub_due: true };
        thread.spawn(move || writer.run(jobs)).map_err(StoreError::Thread)?;
        Ok(Self(sender))
    }

    pub(super) async fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
        answer: oneshot::Sender<Result<T, StoreError>>,
    ) -> Result<(), StoreError> {
        let work: Work = Box::new(move |transaction| {
            let done = transaction.map_err(StoreError::NotDurable).and_then(|open| in_savepoint(open, work));
            match done {
                Ok(value) => Some(Box::new(move |committed| {
                    drop(answer.send(committed.map(|()| value).map_err(StoreError::NotDurable)));
                })),
                Err(error) => {
                    drop(answer.send(Err(error)));
                    None
                }
            }
        });
        self.0.send(Job::Write(work)).await.map_err(|_| StoreError::Abandoned)
    }

    pub(super) async fn scrub(&self) -> Result<bool, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Job::Scrub(answer)).await.map_err(|_| StoreError::Abandoned)?;
        answered.await.map_err(|_| StoreError::Abandoned)?
    }
}

struct Thread {
    connection: Connection,
    /// A scrub was asked for and could not be done yet: deleted content may stand in the log.
    scrub_due: bool,
}

impl Thread {
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        self.scrub_if_due();
        let mut waiting = Vec::with_capacity(GROUP);
        while jobs.blocking_recv_many(&mut waiting, GROUP) > 0 {
            let mut group = Vec::new();
            for job in waiting.drain(..) {
                match job {
                    Job::Write(work) => group.push(work),
                    Job::Scrub(answer) => {
                        write(&mut self.connection, std::mem::take(&mut group));
                        drop(answer.send(self.scrub()));
                    }
                }
            }
            write(&mut self.connection, group);
            self.scrub_if_due();
        }
    }

    /// Writes the log back and empties it; false if it is not empty yet.
    fn scrub(&mut self) -> Result<bool, StoreError> {
        self.scrub_due = true;
        self.scrub_due =
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if self.scrub_due {
            tracing::warn!("the store's log could not be emptied yet: another connection is active");
        }
        Ok(!self.scrub_due)
    }

    fn scrub_if_due(&mut self) {
        if self.scrub_due
            && let Err(error) = self.scrub()
        {
            tracing::warn!(%error, "the store's log could not be emptied yet");
        }
    }
}

/// One transaction for the whole group; another for the rest of it when SQLite rolls the first back.
fn write(connection: &mut Connection, group: Vec<Work>) {
    let mut works = group.into_iter().peekable();
    while works.peek().is_some() {
        match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
            Ok(transaction) => commit(transaction, &mut works),
            Err(error) => {
                tracing::error!(%error, "the store cannot begin a transaction");
                let failure = Arc::new(error);
                works.by_ref().for_each(|work| drop(work(Err(failure.clone()))));
            }
        }
    }
}

/// Runs writes as long as the transaction stands, makes them durable, and answers each.
fn commit(transaction: Transaction<'_>, works: &mut impl Iterator<Item = Work>) {
    let mut completions = Vec::new();
    // A full disk or a failing one can end the whole transaction, not only the write that met it.
    let stands = works.by_ref().all(|work| {
        completions.extend(work(Ok(&transaction)));
        !transaction.is_autocommit()
    });
    let committed = if stands { transaction.commit() } else { Err(rolled_back()) }.map_err(Arc::new);
    metrics::counter!("cardhost_store_transactions_total").increment(1);
    metrics::counter!("cardhost_store_writes_total").increment(completions.len() as u64);
    if let Err(error) = &committed {
        tracing::error!(%error, "the store could not make writes durable");
    }
    for complete in completions {
        complete(committed.clone());
    }
}

/// What the writes before the one that ended the transaction are told.
fn rolled_back() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_ABORT_ROLLBACK), None)
}

/// Runs one write so that its failure undoes it alone.
fn in_savepoint<T>(
    transaction: &Transaction<'_>,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> Result<T, StoreError> {
    let savepoint = |statement| transaction.prepare_cached(statement)?.execute([]);
    savepoint("SAVEPOINT one")?;
    let result = catch_unwind(AssertUnwindSafe(|| work(transaction)));
    // Where the whole transaction is gone the savepoint is gone with it.
    if !transaction.is_autocommit() {
        if !matches!(result, Ok(Ok(_))) {
            savepoint("ROLLBACK TO one")?;
        }
        savepoint("RELEASE one")?;
    }
    Ok(result.map_err(|_| StoreError::Abandoned)??)
}
