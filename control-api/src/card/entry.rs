//! What is known of one terminal's card while somebody uses or watches it.
//!
//! An entry is in the registry as long as somebody holds it or it has something to say: a parked card that nobody
//! watches costs the daemon nothing.

use std::{
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use cardhost_wire::port::Protocol;
use tokio::sync::{self, watch};

use super::{
    Cards, Presence, Refused,
    limits::Pace,
    live::{Live, Use},
};
use crate::auth::name::Name;

const NO_CARD: &str = "the terminal has no card";

/// What is known of a terminal's card while somebody uses or watches it.
pub(super) struct Entry {
    pub(super) terminal: Name,
    /// Held while a card is started, so that two first uses make one microVM.
    pub(super) starting: sync::Mutex<()>,
    standing: Mutex<Standing>,
    pub(super) presence: watch::Sender<Presence>,
    channels: [AtomicBool; Protocol::ALL.len()],
    /// Of the APDUs of its channels.
    pub(super) pace: Pace,
    /// How many [`Held`] there are. Counted down, and up from nothing, only under the registry's lock.
    holders: AtomicUsize,
}

/// Where the card stands.
pub(super) enum Standing {
    AtRest,
    Live(Arc<Live>),
    Refused(Refused),
}

impl Entry {
    pub(super) fn new(terminal: &Name) -> Self {
        Self {
            terminal: terminal.clone(),
            starting: sync::Mutex::default(),
            standing: Mutex::new(Standing::AtRest),
            presence: watch::Sender::new(Presence::Absent { reason: NO_CARD }),
            channels: Default::default(),
            pace: Pace::default(),
            holders: AtomicUsize::new(0),
        }
    }

    pub(super) fn presence(&self) -> watch::Receiver<Presence> {
        self.presence.subscribe()
    }

    /// Takes the protocol's only channel; false if it is taken.
    pub(super) fn reserve(&self, protocol: Protocol) -> bool {
        !self.channels[protocol as usize].swap(true, Ordering::AcqRel)
    }

    pub(super) fn release(&self, protocol: Protocol) {
        self.channels[protocol as usize].store(false, Ordering::Release);
    }

    /// The card's handle while it is live, or ending.
    pub(super) fn live(&self) -> Option<Arc<Live>> {
        match &*self.standing() {
            Standing::Live(live) => Some(live.clone()),
            Standing::AtRest | Standing::Refused(_) => None,
        }
    }

    /// The card's handle while it is live.
    pub(super) fn running(&self) -> Option<Arc<Live>> {
        self.live().filter(|live| live.is_running())
    }

    /// Begins a use of the card if it is live.
    pub(super) async fn enter(&self) -> Option<Use> {
        self.running()?.enter().await
    }

    /// Waits for the end of a card that stopped already.
    pub(super) async fn wait_until_gone(&self) {
        if let Some(live) = self.live() {
            live.until_gone().await;
        }
    }

    pub(super) fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hold on an entry. The last one that is dropped takes an entry that has nothing to say out of the registry.
pub(super) struct Held {
    cards: Cards,
    entry: Arc<Entry>,
}

impl Held {
    /// Holds an entry. The registry's lock is held.
    pub(super) fn new(cards: &Cards, entry: &Arc<Entry>) -> Self {
        entry.holders.fetch_add(1, Ordering::Relaxed);
        Self { cards: cards.clone(), entry: entry.clone() }
    }
}

impl Clone for Held {
    fn clone(&self) -> Self {
        Self::new(&self.cards, &self.entry)
    }
}

impl Deref for Held {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.entry
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut entries = self.cards.entries();
        let is_last = self.entry.holders.fetch_sub(1, Ordering::Relaxed) == 1;
        let says_nothing = match *self.entry.standing() {
            Standing::AtRest => true,
            Standing::Refused(why) => why.is_found_again(),
            Standing::Live(_) => false,
        };
        if is_last && says_nothing {
            entries.remove(&self.entry.terminal);
        }
    }
}

impl Presence {
    pub(super) fn count_reset(&mut self) -> bool {
        match self {
            Self::Present { reset, .. } => {
                *reset += 1;
                true
            }
            Self::Absent { .. } => false,
        }
    }

    /// The card is there and must not be used; true if that is news.
    pub(super) fn withdraw(&mut self, reason: &'static str) -> bool {
        let absent = Self::Absent { reason };
        let news = *self != absent;
        *self = absent;
        news
    }

    /// Follows the store; true if that changed anything.
    pub(super) fn update(&mut self, atr: Option<Vec<u8>>) -> bool {
        match (&*self, atr) {
            (Self::Present { atr: seen, .. }, Some(atr)) if **seen == *atr => false,
            (Self::Absent { .. }, None) => false,
            (_, Some(atr)) => {
                *self = Self::Present { atr: atr.into(), reset: 0 };
                true
            }
            (Self::Present { .. }, None) => {
                *self = Self::Absent { reason: "the card's last credential is gone" };
                true
            }
        }
    }
}
