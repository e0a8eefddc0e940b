//! The writer: a thread that owns the writing connection and commits in groups.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::StoreError;

/// Writes that may wait.
const QUEUE: usize = 1024;
/// Writes in one transaction.
const GROUP: usize = 256;

/// Told how the commit of the group went.
type Completion = Box<dyn FnOnce(Result<(), Arc<rusqlite::Error>>) + Send>;
/// Runs inside the transaction; `None` if it failed and was answered already.
type Work = Box<dyn FnOnce(&Transaction<'_>) -> Option<Completion> + Send>;

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
        thread.spawn(move || run(connection, jobs)).map_err(StoreError::Thread)?;
        Ok(Self(sender))
    }

    pub(super) async fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
        answer: oneshot::Sender<Result<T, StoreError>>,
    ) -> Result<(), StoreError> {
        let work: Work = Box::new(move |transaction| match in_savepoint(transaction, work) {
            Ok(value) => Some(Box::new(move |committed| {
                drop(answer.send(committed.map(|()| value).map_err(StoreError::NotDurable)));
            })),
            Err(error) => {
                drop(answer.send(Err(error)));
                None
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

fn run(mut connection: Connection, mut jobs: mpsc::Receiver<Job>) {
    let mut waiting = Vec::with_capacity(GROUP);
    while jobs.blocking_recv_many(&mut waiting, GROUP) > 0 {
        let mut group = Vec::new();
        for job in waiting.drain(..) {
            match job {
                Job::Write(work) => group.push(work),
                Job::Scrub(answer) => {
                    write(&mut connection, std::mem::take(&mut group));
                    drop(answer.send(scrub(&connection)));
                }
            }
        }
        write(&mut connection, group);
    }
}

/// One transaction for the whole group.
fn write(connection: &mut Connection, group: Vec<Work>) {
    if group.is_empty() {
        return;
    }
    // Works that the transaction cannot even begin for are dropped: their callers see `Abandoned`.
    let Ok(transaction) = connection.transaction_with_behavior(TransactionBehavior::Immediate) else {
        return tracing::error!("the store cannot begin a transaction");
    };
    let completions: Vec<_> = group.into_iter().filter_map(|work| work(&transaction)).collect();
    let committed = transaction.commit().map_err(Arc::new);
    for complete in completions {
        complete(committed.clone());
    }
}

/// Runs one write so that its failure undoes it alone.
fn in_savepoint<T>(
    transaction: &Transaction<'_>,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> Result<T, StoreError> {
    transaction.execute_batch("SAVEPOINT one")?;
    let result = catch_unwind(AssertUnwindSafe(|| work(transaction)));
    if !matches!(result, Ok(Ok(_))) {
        transaction.execute_batch("ROLLBACK TO one")?;
    }
    transaction.execute_batch("RELEASE one")?;
    Ok(result.map_err(|_| StoreError::Abandoned)??)
}

fn scrub(connection: &Connection) -> Result<bool, StoreError> {
    let busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy {
        tracing::warn!("the store's log could not be emptied yet: a reader is active");
    }
    Ok(!busy)
}
