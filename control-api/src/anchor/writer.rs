//! The writer: a thread that owns the anchor's file.
//!
//! ```text
//!            first change            a second, a record's worth, or somebody asks
//! resting ───────────────▶ gathering ─────────────────────────────────────────────▶ writing ─▶ resting
//!                                                     failed: all anew, a second later ◀┘
//! ```

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use cardhost_wire::control::CardId;
use rusqlite::Transaction;
use tokio::sync::oneshot;

use super::{
    AnchorError, AnchorId, Anchored, Mark,
    file::{AnchorFile, Contents},
    format::CardEntry,
    ledger::{Ledger, Nudge},
};
use crate::store::anchor;

/// Longest time that a change waits for its batch, while the disk takes it.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// An open anchor. Cloning gives another handle of the same.
#[derive(Clone)]
pub struct Anchor(Arc<Inner>);

struct Inner {
    id: AnchorId,
    ledger: Arc<Mutex<Ledger>>,
    orders: Sender<Order>,
    /// The sequence number that was last given to the store.
    remembered: AtomicU64,
}

type Answer = oneshot::Sender<Result<Mark, Arc<io::Error>>>;

enum Order {
    /// Something changed since the last batch.
    Changed,
    /// A record's worth changed.
    Full,
    /// Make durable what there is.
    Flush(Answer),
    /// The same, and note that the head is given out.
    Export(Answer),
    /// The same as a flush, and give up the file.
    Close(Answer),
}

impl Anchor {
    /// Starts the writer of this file, which says this.
    pub(super) fn start(
        file: AnchorFile,
        contents: Contents,
        interval: Duration,
    ) -> Result<Self, AnchorError> {
        let id = file.id();
        let ledger = Arc::new(Mutex::new(Ledger::new(contents, file.mark())));
        let (orders, taken) = channel();
        let writer = Writer { file, ledger: ledger.clone(), orders: taken, interval, failed: false };
        let thread = thread::Builder::new().name("anchor".into());
        thread.spawn(move || writer.run()).map_err(AnchorError::Thread)?;
        Ok(Self(Arc::new(Inner { id, ledger, orders, remembered: AtomicU64::new(0) })))
    }

    /// Its identity.
    pub fn id(&self) -> AnchorId {
        self.0.id
    }

    /// What is anchored of a card, changes that are not durable yet included.
    pub fn anchored(&self, card: &CardId) -> Option<Anchored> {
        self.ledger().anchored(card)
    }

    /// Notes a card's state, which is durable in the store. Never waits for the disk.
    pub fn note(&self, card: CardId, anchored: Anchored) {
        let nudge = self.ledger().note(card, anchored);
        // After the end nobody listens: the next start finds the store ahead.
        let _ = match nudge {
            Nudge::None => Ok(()),
            Nudge::First => self.0.orders.send(Order::Changed),
            Nudge::Full => self.0.orders.send(Order::Full),
        };
    }

    /// The last durable batch.
    pub fn mark(&self) -> Mark {
        self.ledger().mark()
    }

    /// Tells the store how far the anchor is, if that is news, in a transaction that is made anyway.
    pub fn remember(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let sequence = self.mark().sequence;
        if self.0.remembered.swap(sequence, Ordering::Relaxed) == sequence {
            return Ok(());
        }
        anchor::remember(transaction, sequence)
    }

    /// Makes durable what changed; the head after it.
    pub async fn flush(&self) -> Result<Mark, AnchorError> {
        self.ask(Order::Flush).await
    }

    /// The head after all that changed, remembered as given out.
    pub async fn export(&self) -> Result<Mark, AnchorError> {
        self.ask(Order::Export).await
    }

    /// Makes durable what changed and gives up the file.
    pub async fn close(&self) -> Result<Mark, AnchorError> {
        self.ask(Order::Close).await
    }

    async fn ask(&self, order: impl FnOnce(Answer) -> Order) -> Result<Mark, AnchorError> {
        let (answer, answered) = oneshot::channel();
        self.0.orders.send(order(answer)).map_err(|_| AnchorError::Closed)?;
        answered.await.map_err(|_| AnchorError::Closed)?.map_err(AnchorError::NotDurable)
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.0.ledger)
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Writer {
    file: AnchorFile,
    ledger: Arc<Mutex<Ledger>>,
    orders: Receiver<Order>,
    interval: Duration,
    /// The file's end is not known: it is written anew before anything else.
    failed: bool,
}

impl Writer {
    fn run(mut self) {
        while let Some(order) = self.next() {
            let written = self.write_changes().map_err(Arc::new);
            if let Err(error) = &written {
                metrics::counter!("cardhost_anchor_failures_total").increment(1);
                tracing::error!(%error, "the anchor cannot be written; cards go on, and it is tried again");
            }
            match order {
                Order::Changed | Order::Full => {}
                Order::Flush(answer) => reply(answer, written.map(|()| self.file.mark())),
                Order::Export(answer) => reply(answer, written.and_then(|()| self.export())),
                Order::Close(answer) => {
                    let mark = self.file.mark();
                    // Its lock goes before anybody is told.
                    drop(self);
                    return reply(answer, written.map(|()| mark));
                }
            }
        }
    }

    /// What to write for; `None` when the last handle is gone.
    fn next(&self) -> Option<Order> {
        let order = match self.failed {
            true => self.orders.recv_timeout(self.interval),
            false => self.orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match order {
            Ok(Order::Changed) => Some(self.gather()),
            Ok(order) => Some(order),
            Err(RecvTimeoutError::Timeout) => Some(Order::Full),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Lets changes come together until something cannot wait.
    fn gather(&self) -> Order {
        let end = Instant::now() + self.interval;
        loop {
            match self.orders.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Order::Changed) => {}
                Ok(order) => return order,
                Err(_) => return Order::Full,
            }
        }
    }

    fn write_changes(&mut self) -> io::Result<()> {
        loop {
            let changes = self.ledger().take_changes();
            if changes.is_empty() {
                return Ok(());
            }
            match self.write(changes.clone()) {
                Ok(mark) => self.ledger().written(mark),
                Err(error) => {
                    self.failed = true;
                    self.ledger().put_back(&changes);
                    return Err(error);
                }
            }
        }
    }

    fn write(&mut self, changes: Vec<CardEntry>) -> io::Result<Mark> {
        let (cards, exported) = self.ledger().counts();
        if self.failed || self.file.is_long(cards, exported) {
            self.rewrite()?;
        }
        let mark = self.file.append_batch(changes)?;
        metrics::counter!("cardhost_anchor_batches_total").increment(1);
        Ok(mark)
    }

    /// Cards that change meanwhile are written in either state: they are in the next batch as well.
    fn rewrite(&mut self) -> io::Result<()> {
        let (ledger, mut last) = (self.ledger.clone(), None);
        // A lock for each chunk: nobody waits for the whole.
        let chunks = std::iter::from_fn(move || {
            let chunk = lock(&ledger).after(last);
            last = chunk.last().map(|(card, _)| *card);
            last.map(|_| chunk)
        });
        let exported = self.ledger().exported();
        self.file.rewrite(chunks, &exported)?;
        self.failed = false;
        Ok(())
    }

    /// Durable before it is given out, so that no later rewriting forgets it.
    fn export(&mut self) -> Result<Mark, Arc<io::Error>> {
        let new = self.ledger().export();
        if new && let Err(error) = self.file.append_exported() {
            self.failed = true;
            return Err(Arc::new(error));
        }
        Ok(self.file.mark())
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }
}

fn reply(answer: Answer, written: Result<Mark, Arc<io::Error>>) {
    // Who asked may have gone.
    let _ = answer.send(written);
}
