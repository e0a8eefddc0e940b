//! Ends a guest that computes without finishing an exchange.
//!
//! A timer on the thread's CPU time ticks four times per budget; each tick makes `KVM_RUN` return. If the guest has
//! taken nothing new from the daemon between four ticks it is a runaway: it has then used between three quarters of
//! the budget and all of it. Packets that only answer the guest's own do not count, so that it cannot keep itself
//! busy. Time spent blocked does not count either, and an exchange costs no system call.

use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use kvm_bindings::kvm_run;
use kvm_ioctls::VcpuFd;
use nix::{
    sys::{
        signal::{SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, Signal, sigaction},
        time::TimeSpec,
        timer::{Expiration, Timer, TimerSetTimeFlags},
    },
    time::ClockId,
    unistd::gettid,
};

const TICKS_PER_BUDGET: u32 = 4;

static RUN: AtomicPtr<kvm_run> = AtomicPtr::new(std::ptr::null_mut());
static TICKED: AtomicBool = AtomicBool::new(false);

/// The watchdog of this process's one vCPU.
pub struct Watchdog {
    budget_ms: u32,
    idle_ticks: u32,
    progress: u64,
    _timer: Timer,
}

impl Watchdog {
    /// Starts the timer for the calling thread, which must be the one that runs the vCPU.
    pub fn start(vcpu: &mut VcpuFd, budget_ms: u32) -> nix::Result<Self> {
        RUN.store(vcpu.get_kvm_run(), Ordering::Release);
        install_handler()?;
        let notify =
            SigevNotify::SigevThreadId { signal: Signal::SIGALRM, thread_id: gettid().as_raw(), si_value: 0 };
        let mut timer = Timer::new(ClockId::CLOCK_THREAD_CPUTIME_ID, SigEvent::new(notify))?;
        let tick = std::time::Duration::from_millis(u64::from((budget_ms / TICKS_PER_BUDGET).max(1)));
        timer.set(Expiration::Interval(TimeSpec::from_duration(tick)), TimerSetTimeFlags::empty())?;
        Ok(Self { budget_ms, idle_ticks: 0, progress: 0, _timer: timer })
    }

    /// `KVM_RUN` was interrupted. True if the guest is a runaway; `progress` counts what it was given by the daemon.
    pub fn interrupted(&mut self, vcpu: &mut VcpuFd, progress: u64) -> bool {
        vcpu.set_kvm_immediate_exit(0);
        if !TICKED.swap(false, Ordering::AcqRel) {
            return false;
        }
        self.idle_ticks = if progress == self.progress { self.idle_ticks + 1 } else { 1 };
        self.progress = progress;
        self.idle_ticks >= TICKS_PER_BUDGET
    }

    /// CPU time for one exchange, milliseconds.
    pub const fn budget_ms(&self) -> u32 {
        self.budget_ms
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        RUN.store(std::ptr::null_mut(), Ordering::Release);
    }
}

#[expect(unsafe_code, reason = "a signal handler must reach the run page")]
fn install_handler() -> nix::Result<()> {
    extern "C" fn tick(_: libc::c_int) {
        TICKED.store(true, Ordering::Release);
        let run = RUN.load(Ordering::Acquire);
        if run.is_null() {
            return;
        }
        // SAFETY: `run` is the vCPU's mapped run page, which outlives the watchdog in `Card`; the only vCPU thread is
        // the one that this handler interrupts, and `immediate_exit` is a byte that KVM reads at entry.
        unsafe { (&raw mut (*run).immediate_exit).write_volatile(1) };
    }
    let action = SigAction::new(SigHandler::Handler(tick), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler only writes two atomics' worth of memory and is async-signal-safe.
    unsafe { sigaction(Signal::SIGALRM, &action) }.map(drop)
}
