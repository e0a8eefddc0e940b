//! A guest as an ordinary process, where there is no `/dev/kvm`: process isolation, not a microVM.
//!
//! The guest needs ring 3, its memory at its own addresses, and one device. So a *guest process* that has exactly
//! these pages, no descriptor and no system call left runs the same image, traced by the card's process, its
//! *tender*:
//!
//! ```text
//! tender                                              guest process
//!   copy of the template in a memfd ── fork ──────────▶ sandbox, PTRACE_TRACEME, stop
//!   strip: guest's pages in, everything else out ─────▶ runs the springboard's one system call at a time
//!   seccomp: kill at every system call ───────────────▶ can compute, and touch its pages
//!   registers ────────────────────────────────────────▶ the guest
//!   run loop ◀── SIGSEGV on the device's page: an access ── the doorbell
//!            ◀── any other signal, or the end: a crash
//! ```
//!
//! The device's page is not mapped; the tender decodes the access that faults on it. The tender's death ends the
//! guest (`PTRACE_O_EXITKILL`). What keeps such a guest in is the kernel's own interface to processes, which is wider
//! than a virtual machine's: whoever lists cards says which of the two they have.

mod access;
mod memory;
mod registers;
mod springboard;
mod strip;
mod tracee;

use std::{
    ptr::NonNull,
    sync::atomic::{AtomicU8, Ordering},
};

use cardhost_wire::{
    boot::{MMIO_BASE, MMIO_SIZE},
    link::CrashCause,
};
use nix::{errno::Errno, time::ClockId};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::{Exit, Machine, MachineError};
use crate::card::statistics::Meter;
use access::{Access, Kind, LONGEST};
use memory::Memory;
pub use memory::Source;
pub use registers::Registers;
pub use springboard::Springboard;
use tracee::{Fault, Stop, Tracee};

/// A guest process and its memory, with the caller as its tender.
pub struct GuestProcess {
    tracee: Tracee,
    memory: Memory,
    /// The registers of the stopped guest, as they are when it goes on.
    general: libc::user_regs_struct,
    state: State,
    /// The number of the register that waits for [`Machine::answer`].
    loads: Option<u8>,
    stop: Box<AtomicU8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Stopped,
    /// The tender was interrupted; the guest was not.
    Running,
}

impl GuestProcess {
    /// Starts a guest process over a copy of `source`, as `user` if one is given, and stops it at `registers`. The
    /// caller's thread becomes its tender.
    ///
    /// # Errors
    /// See [`ProcessError`].
    pub fn new(
        source: &Source<'_>,
        springboard: &Springboard,
        registers: &Registers,
        user: Option<u32>,
    ) -> Result<Self, ProcessError> {
        let memory = Memory::copy(source)?;
        let tracee = Tracee::fork(user)?;
        strip::strip(&tracee, springboard, &memory, source)?;
        let general = registers.restore(&tracee)?;
        let stop = Box::new(AtomicU8::new(0));
        Ok(Self { tracee, memory, general, state: State::Stopped, loads: None, stop })
    }

    /// Has the guest go on if it is stopped, and waits for its next stop.
    fn next_stop(&mut self) -> Result<Stop, Errno> {
        if self.state == State::Stopped {
            match self.tracee.set_general(&self.general).and_then(|()| self.tracee.go_on()) {
                // Somebody has killed it; its end is its next stop.
                Ok(()) | Err(Errno::ESRCH) => self.state = State::Running,
                Err(error) => return Err(error),
            }
        }
        self.stopped()
    }

    fn stopped(&mut self) -> Result<Stop, Errno> {
        let stop = self.tracee.wait()?;
        self.state = State::Stopped;
        // One that is gone keeps those that it had.
        self.general = self.tracee.general().unwrap_or(self.general);
        Ok(stop)
    }

    fn exit(&mut self, stop: Stop) -> Exit {
        match stop {
            Stop::Fault(Fault::Memory { address, .. }) if is_device(address) => self.access(address),
            Stop::Fault(fault) => Exit::Crashed(fault.cause()),
            Stop::SystemCall => unexpected(format!("system call {}", self.general.orig_rax)),
            Stop::Signal(signal) => unexpected(signal.to_string()),
        }
    }

    /// The guest's access to its device, decoded and behind it.
    fn access(&mut self, address: u64) -> Exit {
        let Some(access) = Access::decode(&self.code()) else {
            return unexpected(format!("access to {address:#x} by an instruction that is not a 32-bit move"));
        };
        self.general.rip += access.length;
        match access.kind {
            Kind::Load { register } => {
                self.loads = Some(register);
                Exit::Read { address }
            }
            Kind::Store { register } => {
                Exit::Write { address, value: *registers::general(&mut self.general, register) as u32 }
            }
            Kind::StoreImmediate { value } => Exit::Write { address, value },
        }
    }

    /// The bytes at the guest's instruction pointer; zeros where it has no memory.
    fn code(&self) -> [u8; LONGEST] {
        let mut code = [0; LONGEST];
        // At the end of memory fewer are read, and outside of it none.
        let _ = self.memory.guest().read(&mut code, GuestAddress(self.general.rip));
        code
    }

    fn interrupted(&self) -> Exit {
        self.stop.store(0, Ordering::Release);
        Exit::Interrupted
    }
}

impl Machine for GuestProcess {
    type Registers = Registers;

    fn run(&mut self) -> Exit {
        if self.stop.load(Ordering::Acquire) != 0 {
            return self.interrupted();
        }
        match self.next_stop() {
            Ok(stop) => self.exit(stop),
            Err(Errno::EINTR) => self.interrupted(),
            Err(error) => unexpected(format!("the guest process is gone: {error}")),
        }
    }

    fn answer(&mut self, value: u32) {
        if let Some(register) = self.loads.take() {
            *registers::general(&mut self.general, register) = value.into();
        }
    }

    fn memory(&self) -> &GuestMemoryMmap {
        self.memory.guest()
    }

    /// Stops the guest if it runs: it does not go on after this.
    fn instruction_pointer(&mut self) -> u64 {
        if self.state == State::Running {
            let halted = self.tracee.halt();
            let stopped = std::iter::repeat_with(|| self.stopped()).find(|stop| *stop != Err(Errno::EINTR));
            if halted.is_err() || !matches!(stopped, Some(Ok(_))) {
                return 0;
            }
        }
        self.general.rip
    }

    fn registers(&mut self) -> Result<Registers, MachineError> {
        Ok(Registers::save(self.general, &self.tracee)?)
    }

    fn clock(&self) -> ClockId {
        self.tracee.clock()
    }

    fn thread(&self) -> libc::pid_t {
        self.tracee.thread()
    }

    fn stop_byte(&mut self) -> NonNull<u8> {
        NonNull::new(self.stop.as_ptr()).expect("a box is not at 0")
    }

    fn meter(&self) -> std::io::Result<Meter> {
        Ok(Meter::of_file(self.memory.file(), self.clock()))
    }
}

/// A guest process cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The system refused something.
    #[error("{what}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What it said.
        #[source]
        source: Errno,
    },
    /// The guest process ended, or stopped elsewhere, while it was set up.
    #[error("the guest process does not start: {0}")]
    NotStarted(&'static str),
    /// Guest memory.
    #[error("no memory for the guest process")]
    Memory(#[from] std::io::Error),
}

/// Says what was asked for when the system refuses it.
trait Asked<T> {
    fn asked(self, what: &'static str) -> Result<T, ProcessError>;
}

impl<T> Asked<T> for nix::Result<T> {
    fn asked(self, what: &'static str) -> Result<T, ProcessError> {
        self.map_err(|source| ProcessError::System { what, source })
    }
}

fn is_device(address: u64) -> bool {
    (MMIO_BASE..MMIO_BASE + MMIO_SIZE).contains(&address)
}

fn unexpected(what: String) -> Exit {
    Exit::Crashed(CrashCause::UnexpectedExit(what))
}
