//! The live cards in the order of their last use.
//!
//! A use does not touch the roster: a card stands there under a time that its last use may have passed, and is put
//! right when its turn comes. So finding the card that is idle longest costs the logarithm of their number, and an
//! exchange costs nothing.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::time::Instant;

use super::live::Live;

/// The roster. Cloning gives another handle of the same.
#[derive(Clone, Default)]
pub(super) struct Roster(Arc<Shared>);

#[derive(Default)]
struct Shared {
    last: AtomicU64,
    residents: Mutex<Residents>,
}

#[derive(Default)]
struct Residents {
    by_number: HashMap<u64, Resident>,
    /// Who may be asked to park, by a time at or before the last use.
    order: BTreeSet<(Instant, u64)>,
}

struct Resident {
    live: Arc<Live>,
    /// Its key in the order, if it stands there.
    key: Option<Instant>,
}

impl Roster {
    /// A number that no other card had.
    pub(super) fn next_number(&self) -> u64 {
        self.0.last.fetch_add(1, Ordering::Relaxed)
    }

    /// Enters a live card.
    pub(super) fn enter(&self, live: &Arc<Live>) {
        let mut residents = self.residents();
        residents.by_number.insert(live.number, Resident { live: live.clone(), key: None });
        residents.put(live.number);
    }

    /// Strikes out a card that has ended.
    pub(super) fn leave(&self, live: &Live) {
        let mut residents = self.residents();
        if let Some(Resident { key: Some(key), .. }) = residents.by_number.remove(&live.number) {
            residents.order.remove(&(key, live.number));
        }
    }

    /// Puts a card that was taken back in its place, unless it has ended.
    pub(super) fn put(&self, live: &Live) {
        self.residents().put(live.number);
    }

    /// Takes the card out of the order that is idle longest, if its last use was not after `before`.
    pub(super) fn take(&self, before: Instant) -> Option<Arc<Live>> {
        let mut residents = self.residents();
        while let Some(&(key, number)) = residents.order.first() {
            if key > before {
                return None;
            }
            residents.order.pop_first();
            let Some(resident) = residents.by_number.get_mut(&number) else { continue };
            resident.key = None;
            if resident.live.used() == key {
                return Some(resident.live.clone());
            }
            // It was used since it was put there: others may be idle longer.
            residents.put(number);
        }
        None
    }

    fn residents(&self) -> MutexGuard<'_, Residents> {
        self.0.residents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Residents {
    fn put(&mut self, number: u64) {
        let Some(resident) = self.by_number.get_mut(&number) else { return };
        let key = resident.live.used();
        if let Some(before) = resident.key.replace(key) {
            self.order.remove(&(before, number));
        }
        self.order.insert((key, number));
    }
}
