//! Ends a guest that computes without finishing an exchange.
//!
//! A timer on the guest's CPU time ticks every 25 ms; each tick makes the machine return. A guest that has taken nothing
//! new from the daemon since the last tick is busy, and one that was busy for its whole budget, to a tick, is a runaway.
//! Packets that only answer the guest's own do not count, so that it cannot keep itself busy. Time spent blocked does not
//! count either, and an exchange costs no system call.

use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use nix::{
    sys::{
        signal::{SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, Signal, sigaction},
        time::TimeSpec,
        timer::{Expiration, Timer, TimerSetTimeFlags},
    },
    unistd::gettid,
};

use super::machine::Machine;

/// CPU time between two ticks, milliseconds: some thousand round trips, and less than one RSA key takes.
const TICK_MS: u32 = 25;

/// The machine's [`Machine::stop_byte`].
static STOP: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static TICKED: AtomicBool = AtomicBool::new(false);

/// What a guest did since the last tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It takes what the daemon gives it.
    Brisk,
    /// It has computed for a whole tick in one exchange.
    Busy,
    /// It has used up its budget.
    Runaway,
}

/// The watchdog of this process's one machine.
pub struct Watchdog {
    budget_ms: u32,
    idle_ticks: u32,
    progress: u64,
    _timer: Timer,
}

impl Watchdog {
    /// Starts the timer; its signals go to the calling thread, which must be the one that runs the machine.
    pub fn start(machine: &mut impl Machine, budget_ms: u32) -> nix::Result<Self> {
        STOP.store(machine.stop_byte().as_ptr(), Ordering::Release);
        install_handler()?;
        let notify =
            SigevNotify::SigevThreadId { signal: Signal::SIGALRM, thread_id: gettid().as_raw(), si_value: 0 };
        let mut timer = Timer::new(machine.clock(), SigEvent::new(notify))?;
        let tick = std::time::Duration::from_millis(u64::from(TICK_MS.min(budget_ms).max(1)));
        timer.set(Expiration::Interval(TimeSpec::from_duration(tick)), TimerSetTimeFlags::empty())?;
        Ok(Self { budget_ms, idle_ticks: 0, progress: 0, _timer: timer })
    }

    /// The machine was interrupted; `progress` counts what the guest was given by the daemon.
    pub fn interrupted(&mut self, progress: u64) -> Finding {
        if !TICKED.swap(false, Ordering::AcqRel) {
            return Finding::Brisk;
        }
        self.idle_ticks = if progress == self.progress { self.idle_ticks + 1 } else { 1 };
        self.progress = progress;
        // The first tick may have come right after the exchange began.
        match self.idle_ticks {
            ticks if ticks * TICK_MS >= self.budget_ms => Finding::Runaway,
            1 => Finding::Brisk,
            _ => Finding::Busy,
        }
    }

    /// CPU time for one exchange, milliseconds.
    pub const fn budget_ms(&self) -> u32 {
        self.budget_ms
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        STOP.store(std::ptr::null_mut(), Ordering::Release);
    }
}

#[expect(unsafe_code, reason = "a signal handler must reach the machine")]
fn install_handler() -> nix::Result<()> {
    extern "C" fn tick(_: libc::c_int) {
        TICKED.store(true, Ordering::Release);
        let stop = STOP.load(Ordering::Acquire);
        if stop.is_null() {
            return;
        }
        // SAFETY: the byte belongs to the machine, which outlives the watchdog in `Card`; the only thread that runs
        // the machine is the one that this handler interrupts, and no reference to the byte is held.
        unsafe { stop.write_volatile(1) };
    }
    let action = SigAction::new(SigHandler::Handler(tick), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler only writes two atomics' worth of memory and is async-signal-safe.
    unsafe { sigaction(Signal::SIGALRM, &action) }.map(drop)
}
