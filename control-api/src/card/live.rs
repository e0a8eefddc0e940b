//! A running card, and who uses it.
//!
//! ```text
//!         enter            leave
//! unused ──────▶ used by n ──────▶ unused ──alone──▶ reserved ──session state?──▶ closed, parked
//!                                     ▲                 │ held, or somebody wants to enter
//!                                     └─────────────────┘
//! ```
//!
//! Whatever is sent to a card is sent within a [`Use`], and only an unused card is parked. So an exchange under way
//! is never cut off, and one that comes while the card parks waits for the verdict: it enters, or starts the card
//! anew. Entering costs an atomic operation and no system call.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use cardhost_wire::control::SessionState;
use tokio::{
    sync::{Semaphore, SemaphorePermit, mpsc, oneshot, watch},
    time::Instant,
};

use super::{
    CardError,
    ports::Reply,
    roster::Roster,
    task::{End, MAILBOX, Mail},
};

/// Most uses of one card at a time; one more waits. As many as its task's mailbox holds.
const MOST: u32 = MAILBOX as u32;

/// A running card.
pub(super) struct Live {
    pub(super) pid: u32,
    /// Its place in the roster.
    pub(super) number: u64,
    mail: mpsc::Sender<Mail>,
    stop: Mutex<Option<oneshot::Sender<End>>>,
    gone: watch::Receiver<bool>,
    uses: Semaphore,
    /// Who waits to enter.
    wanted: AtomicUsize,
    began: Instant,
    /// Microseconds from `began` to the begin or end of the last use.
    used: AtomicU64,
    /// Found to hold session state, which only another use can change.
    aside: AtomicBool,
    roster: Roster,
}

/// The other ends of a card's handle, for its task and its end.
pub(super) struct Ends {
    pub(super) mailbox: mpsc::Receiver<Mail>,
    pub(super) stopped: oneshot::Receiver<End>,
    pub(super) going: watch::Sender<bool>,
}

/// A use of a running card: while it lasts the card does not park.
pub(super) struct Use(Arc<Live>);

/// Counts who waits to enter, also if that is given up.
struct Wish<'a>(&'a AtomicUsize);

impl Live {
    /// A card that nobody uses yet, entered in the roster.
    pub(super) fn new(pid: u32, roster: &Roster) -> (Arc<Self>, Ends) {
        let (mail, mailbox) = mpsc::channel(MAILBOX);
        let (stop, stopped) = oneshot::channel();
        let (going, gone) = watch::channel(false);
        let live = Arc::new(Self {
            pid,
            number: roster.next_number(),
            mail,
            stop: Mutex::new(Some(stop)),
            gone,
            uses: Semaphore::new(MOST as usize),
            wanted: AtomicUsize::new(0),
            began: Instant::now(),
            used: AtomicU64::new(0),
            aside: AtomicBool::new(false),
            roster: roster.clone(),
        });
        (live, Ends { mailbox, stopped, going })
    }

    /// Begins a use; `None` if the card has ended or parked.
    pub(super) async fn enter(self: &Arc<Self>) -> Option<Use> {
        match self.uses.try_acquire() {
            Ok(permit) => permit.forget(),
            Err(_) => self.wait_to_enter().await?.forget(),
        }
        self.touch();
        if self.aside.load(Ordering::Relaxed) && self.aside.swap(false, Ordering::AcqRel) {
            self.roster.put(self);
        }
        Some(Use(self.clone()))
    }

    async fn wait_to_enter(&self) -> Option<SemaphorePermit<'_>> {
        let _wish = Wish::new(&self.wanted);
        self.uses.acquire().await.ok()
    }

    /// True if somebody waits to enter.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire) > 0
    }

    /// Reserves the card, if nobody uses it: who wants to enter waits until the permits are given back.
    pub(super) fn reserve(&self) -> Option<SemaphorePermit<'_>> {
        self.uses.try_acquire_many(MOST).ok()
    }

    /// Waits until the uses under way are over and reserves the card; `None` if it has ended.
    pub(super) async fn reserve_in_turn(&self) -> Option<SemaphorePermit<'_>> {
        self.uses.acquire_many(MOST).await.ok()
    }

    /// What the guest says of its sessions. Asked while the card is reserved, so that the answer stays true.
    pub(super) async fn session_state(
        &self,
        _reserved: &SemaphorePermit<'_>,
    ) -> Result<SessionState, CardError> {
        self.ask(|reply| Mail::SessionState { reply }).await
    }

    /// The roster need not offer the card again before its next use. Said while the card is reserved.
    pub(super) fn set_aside(&self, _reserved: &SemaphorePermit<'_>) {
        self.aside.store(true, Ordering::Release);
    }

    /// Lets nobody enter any more.
    pub(super) fn close(&self) {
        self.uses.close();
    }

    /// True until it has ended or parked.
    pub(super) fn is_running(&self) -> bool {
        !self.uses.is_closed()
    }

    /// The begin or end of its last use.
    pub(super) fn used(&self) -> Instant {
        self.began + std::time::Duration::from_micros(self.used.load(Ordering::Relaxed))
    }

    fn touch(&self) {
        self.used.store(self.began.elapsed().as_micros() as u64, Ordering::Relaxed);
    }

    /// Puts a question to the card's task that is no use of the card: it may go unanswered when the card parks.
    pub(super) async fn ask<T>(&self, mail: impl FnOnce(Reply<T>) -> Mail) -> Result<T, CardError> {
        let (reply, answered) = oneshot::channel();
        self.tell(mail(reply)).await?;
        answered.await.map_err(|_| CardError::Stopped)?
    }

    pub(super) async fn tell(&self, mail: Mail) -> Result<(), CardError> {
        self.mail.send(mail).await.map_err(|_| CardError::Stopped)
    }

    /// Ends the card and waits until its process is gone.
    pub(super) async fn stop(&self, end: End) {
        if let Some(stop) = self.stop.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It may have stopped by itself already.
            let _ = stop.send(end);
        }
        self.until_gone().await;
    }

    /// Waits until its process is gone.
    pub(super) async fn until_gone(&self) {
        drop(self.gone.clone().wait_for(|gone| *gone).await);
    }
}

impl Use {
    /// The card.
    pub(super) fn live(&self) -> &Arc<Live> {
        &self.0
    }

    /// Puts a question to the card's task and waits for its answer.
    pub(super) async fn ask<T>(&self, mail: impl FnOnce(Reply<T>) -> Mail) -> Result<T, CardError> {
        self.0.ask(mail).await
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.0.touch();
        self.0.uses.add_permits(1);
    }
}

impl<'a> Wish<'a> {
    fn new(wanted: &'a AtomicUsize) -> Self {
        wanted.fetch_add(1, Ordering::AcqRel);
        Self(wanted)
    }
}

impl Drop for Wish<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
