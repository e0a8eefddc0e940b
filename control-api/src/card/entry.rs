//! What is known of one terminal's card while somebody uses or watches it.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use cardhost_wire::port::Protocol;
use tokio::sync::{self, mpsc, oneshot, watch};

use super::{CardError, Presence, Refused, ports::Reply, task::Mail};
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
}

/// Where the card stands.
pub(super) enum Standing {
    AtRest,
    Live(Live),
    Refused(Refused),
}

/// A running card. Cloning gives another handle of the same.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) mail: mpsc::Sender<Mail>,
    pub(super) pid: u32,
    pub(super) stop: Arc<Mutex<Option<oneshot::Sender<()>>>>,
    pub(super) gone: watch::Receiver<bool>,
}

impl Entry {
    pub(super) fn new(terminal: &Name) -> Self {
        Self {
            terminal: terminal.clone(),
            starting: sync::Mutex::default(),
            standing: Mutex::new(Standing::AtRest),
            presence: watch::Sender::new(Presence::Absent { reason: NO_CARD }),
            channels: Default::default(),
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

    pub(super) fn is_idle(&self) -> bool {
        // A state that was put back is found again.
        let standing =
            matches!(*self.standing(), Standing::AtRest | Standing::Refused(Refused::RolledBack(_)));
        self.presence.receiver_count() == 0 && standing
    }

    pub(super) fn running(&self) -> Option<Live> {
        match &*self.standing() {
            Standing::Live(live) => Some(live.clone()).filter(Live::is_running),
            Standing::AtRest | Standing::Refused(_) => None,
        }
    }

    /// Waits for the end of a card that stopped already.
    pub(super) async fn wait_until_gone(&self) {
        let live = match &*self.standing() {
            Standing::Live(live) => Some(live.clone()),
            Standing::AtRest | Standing::Refused(_) => None,
        };
        if let Some(mut live) = live {
            drop(live.gone.wait_for(|gone| *gone).await);
        }
    }

    pub(super) fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    pub(super) fn is_running(&self) -> bool {
        !self.mail.is_closed()
    }

    /// Puts a question to the card's task and waits for its answer.
    pub(super) async fn ask<T>(&self, mail: impl FnOnce(Reply<T>) -> Mail) -> Result<T, CardError> {
        let (reply, answered) = oneshot::channel();
        self.mail.send(mail(reply)).await.map_err(|_| CardError::Stopped)?;
        answered.await.map_err(|_| CardError::Stopped)?
    }

    pub(super) async fn stop(mut self) {
        if let Some(stop) = self.stop.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It may have stopped by itself already.
            let _ = stop.send(());
        }
        drop(self.gone.wait_for(|gone| *gone).await);
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
