//! The machine under a guest, behind a narrow boundary: it runs until an exit, and an exit says one thing.
//!
//! ```text
//!            ┌────────────────── run ──────────────────┐
//!            ▼                                          │
//!  guest runs ──▶ Write ─▶ the device takes the value ──┤
//!            ├──▶ Read ──▶ answer ──────────────────────┤
//!            ├──▶ Interrupted ─▶ the watchdog looks ────┘
//!            └──▶ Crashed ─▶ the card's end
//! ```
//!
//! Two kinds stand behind it: [`kvm`], a virtual machine, and [`process`], where there is no `/dev/kvm`.
//!
//! The guest stays in ring 3 and reaches nothing but its memory and one device ([`cardhost_wire::boot`]), so that
//! no more than this is needed to run it.

pub mod kvm;
pub mod process;

use std::ptr::NonNull;

use cardhost_wire::link::CrashCause;
use nix::time::ClockId;
use vm_memory::GuestMemoryMmap;

use super::statistics::Meter;

/// Why a machine stopped running its guest.
#[derive(Debug)]
pub enum Exit {
    /// The guest writes to its device's page.
    Write {
        /// Guest address.
        address: u64,
        /// What it writes.
        value: u32,
    },
    /// The guest reads from its device's page; the value is given by [`Machine::answer`].
    Read {
        /// Guest address.
        address: u64,
    },
    /// The guest was interrupted and can go on.
    Interrupted,
    /// The guest cannot go on.
    Crashed(CrashCause),
}

/// A guest's memory and processor.
pub trait Machine {
    /// Where a processor begins or goes on.
    type Registers;

    /// Runs the guest to its next exit.
    fn run(&mut self) -> Exit;

    /// What the guest reads, after [`Exit::Read`].
    fn answer(&mut self, value: u32);

    /// Guest memory; the guest does not run while it is looked at.
    fn memory(&self) -> &GuestMemoryMmap;

    /// Where the guest is stopped, 0 if that is unknown.
    fn instruction_pointer(&mut self) -> u64;

    /// The processor as it stands after an exit, with the access that caused it behind it.
    ///
    /// # Errors
    /// The system does not tell.
    fn registers(&mut self) -> Result<Self::Registers, MachineError>;

    /// The clock of the CPU time that the guest uses.
    fn clock(&self) -> ClockId;

    /// The thread that runs the guest; 0 for the one that calls.
    fn thread(&self) -> libc::pid_t;

    /// A byte that lives as long as the machine. A signal handler that sets it to 1 has the present or next run end with
    /// [`Exit::Interrupted`], which clears it.
    fn stop_byte(&mut self) -> NonNull<u8>;

    /// Reads the counters of this machine.
    ///
    /// # Errors
    /// `/proc` is not there, or no descriptor is left.
    fn meter(&self) -> std::io::Result<Meter>;
}

/// A machine cannot be made, or does not tell its registers.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// An ioctl of KVM failed.
    #[error("{what}")]
    Kvm {
        /// What was asked for.
        what: &'static str,
        /// KVM's answer.
        source: kvm_ioctls::Error,
    },
    /// A guest process cannot be made.
    #[error(transparent)]
    Process(#[from] process::ProcessError),
}
