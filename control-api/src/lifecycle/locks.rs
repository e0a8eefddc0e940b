//! One lock per terminal in use.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{self, OwnedMutexGuard};

use crate::auth::name::Name;

/// The locks; those that nobody holds or waits for cost nothing but a swept entry.
#[derive(Default)]
pub(super) struct Locks(Mutex<HashMap<Name, Weak<sync::Mutex<()>>>>);

impl Locks {
    /// Waits until nothing else works on this terminal.
    pub(super) async fn lock(&self, terminal: &Name) -> OwnedMutexGuard<()> {
        self.of(terminal).lock_owned().await
    }

    fn of(&self, terminal: &Name) -> Arc<sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(terminal).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::default();
        locks.insert(terminal.clone(), Arc::downgrade(&lock));
        lock
    }
}
