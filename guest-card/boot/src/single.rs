//! Statics of a program that has one thread and no interrupts.
#![expect(unsafe_code, reason = "states that there is one thread")]

use core::{
    cell::UnsafeCell,
    ops::Deref,
    sync::atomic::{AtomicBool, Ordering},
};

/// A static that only the one thread reaches.
pub struct Single<T>(T);

// SAFETY: the guest has one vCPU and no interrupt or signal handler, so no second thread of execution exists.
unsafe impl<T> Sync for Single<T> {}

impl<T> Single<T> {
    /// Wraps a value for a static.
    pub const fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for Single<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// A static that is handed out once, for good.
pub struct Once<T> {
    claimed: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `claim` hands out the only reference there ever is.
unsafe impl<T: Send> Sync for Once<T> {}

impl<T> Once<T> {
    /// Wraps a value for a static.
    pub const fn new(value: T) -> Self {
        Self { claimed: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// The value, at the first call only.
    #[expect(clippy::mut_from_ref, reason = "handed out once")]
    pub fn claim(&'static self) -> Option<&'static mut T> {
        if self.claimed.swap(true, Ordering::Relaxed) {
            return None;
        }
        // SAFETY: the flag lets exactly one caller pass, and nothing else reads the cell.
        Some(unsafe { &mut *self.value.get() })
    }
}

struct NothingToLock;
critical_section::set_impl!(NothingToLock);

// SAFETY: with one thread and no interrupts, every section is critical.
unsafe impl critical_section::Impl for NothingToLock {
    unsafe fn acquire() -> critical_section::RawRestoreState {}

    unsafe fn release(_: critical_section::RawRestoreState) {}
}
