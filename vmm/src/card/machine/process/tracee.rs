//! The traced process: fork, stops, registers (ptrace(2)).

use cardhost_wire::link::CrashCause;
use nix::{
    errno::Errno,
    sys::{
        prctl,
        ptrace::{self, Event, Options},
        signal::{Signal, kill, raise},
        wait::{WaitStatus, waitpid},
    },
    time::ClockId,
    unistd::{ForkResult, Pid, fork, getpid, getppid},
};

use super::{Asked, ProcessError};
use crate::card::sandbox;

// Exceptions (Intel SDM volume 3, 6.3.1).
const DIVIDE: u8 = 0;
const DEBUG: u8 = 1;
const BREAKPOINT: u8 = 3;
const INVALID_OPCODE: u8 = 6;
const STACK_SEGMENT: u8 = 12;
const GENERAL_PROTECTION: u8 = 13;
const PAGE_FAULT: u8 = 14;
const ALIGNMENT: u8 = 17;
/// A page fault's error code as far as the kernel tells: by the user, and whether the page is there.
const USER: u32 = 1 << 2;
const PROTECTION: u32 = 1;

// Reasons (asm-generic/siginfo.h); the first is for what has no other.
const SI_KERNEL: i32 = 0x80;
const SEGV_MAPERR: i32 = 1;
const SEGV_ACCERR: i32 = 2;
const FPE_INTDIV: i32 = 1;

/// Why the guest stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// An exception of the processor.
    Fault(Fault),
    /// It is being killed for a system call.
    SystemCall,
    /// A signal that no instruction of its own raised.
    Signal(Signal),
}

/// An exception of the processor, as the kernel tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A page that is not there, or not for this.
    Memory {
        /// Where.
        address: u64,
        /// The page is there.
        present: bool,
    },
    /// Another exception, if it is known which.
    Other(Option<u8>),
}

impl Fault {
    /// The crash that it is, if it is one. Of a page fault's error code the kernel tells a part.
    pub const fn cause(self) -> CrashCause {
        match self {
            Self::Memory { address, present } => {
                let error_code = USER | if present { PROTECTION } else { 0 };
                CrashCause::Exception { vector: Some(PAGE_FAULT), error_code, address }
            }
            Self::Other(vector) => CrashCause::Exception { vector, error_code: 0, address: 0 },
        }
    }

    /// The exception behind a signal (arch/x86/kernel/traps.c); `None` if the signal was sent.
    fn of_signal(signal: Signal, code: i32, address: u64) -> Option<Self> {
        Some(match (signal, code) {
            (Signal::SIGSEGV, SEGV_MAPERR | SEGV_ACCERR) => {
                Self::Memory { address, present: code == SEGV_ACCERR }
            }
            (Signal::SIGSEGV, SI_KERNEL) => Self::Other(Some(GENERAL_PROTECTION)),
            (Signal::SIGBUS, SI_KERNEL) => Self::Other(Some(STACK_SEGMENT)),
            (Signal::SIGBUS, libc::BUS_ADRALN) => Self::Other(Some(ALIGNMENT)),
            (Signal::SIGTRAP, SI_KERNEL) => Self::Other(Some(BREAKPOINT)),
            (Signal::SIGILL, 1..) => Self::Other(Some(INVALID_OPCODE)),
            (Signal::SIGFPE, FPE_INTDIV) => Self::Other(Some(DIVIDE)),
            (Signal::SIGTRAP, 1..) => Self::Other(Some(DEBUG)),
            (Signal::SIGFPE | Signal::SIGSEGV | Signal::SIGBUS, 1..) => Self::Other(None),
            _ => return None,
        })
    }
}

/// A process that the calling thread traces. Ended on drop.
pub struct Tracee {
    pid: Pid,
    clock: ClockId,
}

impl Tracee {
    /// Forks a process that enters the sandbox as this user and is stopped.
    ///
    /// # Errors
    /// See [`ProcessError`].
    #[expect(unsafe_code, reason = "fork")]
    pub fn fork(user: Option<u32>) -> Result<Self, ProcessError> {
        let tender = getpid();
        // SAFETY: the caller has one thread, so that no lock is held by another in the child's copy of memory.
        let pid = match unsafe { fork() }.asked("fork the guest process")? {
            ForkResult::Parent { child } => child,
            ForkResult::Child => offer(tender, user),
        };
        let clock = ClockId::pid_cpu_clock_id(pid).asked("the guest process's clock")?;
        let tracee = Self { pid, clock };
        tracee.first_stop()?;
        // The tender's death ends the guest, and the guest's end is a stop, at which its registers can be read.
        let options = Options::PTRACE_O_EXITKILL | Options::PTRACE_O_TRACEEXIT;
        ptrace::setoptions(pid, options).asked("PTRACE_SETOPTIONS")?;
        Ok(tracee)
    }

    fn first_stop(&self) -> Result<(), ProcessError> {
        match self.status().asked("wait for the guest process")? {
            WaitStatus::Stopped(_, Signal::SIGSTOP) => Ok(()),
            _ => Err(ProcessError::NotStarted(
                "its sandbox, or being traced (kernel.yama.ptrace_scope), is refused",
            )),
        }
    }

    /// The next change, without interruptions.
    fn status(&self) -> nix::Result<WaitStatus> {
        std::iter::repeat_with(|| waitpid(self.pid, None))
            .find(|status| *status != Err(Errno::EINTR))
            .expect("endless")
    }

    /// Has the stopped process go on, without the signal that stopped it.
    pub fn go_on(&self) -> nix::Result<()> {
        ptrace::cont(self.pid, None)
    }

    /// Stops the process at any place.
    pub fn halt(&self) -> nix::Result<()> {
        kill(self.pid, Signal::SIGSTOP)
    }

    /// Waits for the next stop.
    ///
    /// # Errors
    /// `EINTR` if the tender was interrupted; `ESRCH` if the process has gone, which ends every guest.
    pub fn wait(&self) -> nix::Result<Stop> {
        match waitpid(self.pid, None)? {
            WaitStatus::Stopped(_, signal) => self.of_signal(signal),
            WaitStatus::PtraceEvent(_, _, event) if event == Event::PTRACE_EVENT_EXIT as i32 => {
                self.of_exit()
            }
            WaitStatus::Signaled(_, signal, _) => Ok(Stop::Signal(signal)),
            _ => Err(Errno::ESRCH),
        }
    }

    fn of_signal(&self, signal: Signal) -> nix::Result<Stop> {
        let information = ptrace::getsiginfo(self.pid)?;
        let fault = Fault::of_signal(signal, information.si_code, faulting_address(&information));
        Ok(fault.map_or(Stop::Signal(signal), Stop::Fault))
    }

    /// The low bits of the status are the signal (wait(2)).
    fn of_exit(&self) -> nix::Result<Stop> {
        let status = ptrace::getevent(self.pid)? as i32;
        match Signal::try_from(status & 0x7F)? {
            Signal::SIGSYS => Ok(Stop::SystemCall),
            signal => Ok(Stop::Signal(signal)),
        }
    }

    /// The general registers of the stopped process.
    pub fn general(&self) -> nix::Result<libc::user_regs_struct> {
        ptrace::getregs(self.pid)
    }

    /// Sets them.
    pub fn set_general(&self, registers: &libc::user_regs_struct) -> nix::Result<()> {
        ptrace::setregs(self.pid, *registers)
    }

    /// Its process.
    pub const fn pid(&self) -> Pid {
        self.pid
    }

    /// The clock of its CPU time.
    pub const fn clock(&self) -> ClockId {
        self.clock
    }

    /// Its one thread.
    pub const fn thread(&self) -> libc::pid_t {
        self.pid.as_raw()
    }

    /// Runs the stopped process to the breakpoint behind the instruction at the registers' place.
    ///
    /// # Errors
    /// It stops elsewhere or ends.
    pub fn step(&self, registers: &libc::user_regs_struct) -> Result<libc::user_regs_struct, ProcessError> {
        self.set_general(registers).asked("PTRACE_SETREGS")?;
        self.go_on().asked("PTRACE_CONT")?;
        match self.status().asked("wait for the guest process")? {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => self.general().asked("PTRACE_GETREGS"),
            _ => Err(ProcessError::NotStarted("it ended while it was stripped")),
        }
    }
}

impl Drop for Tracee {
    /// In a card's process this never runs: the process's end ends the guest.
    fn drop(&mut self) {
        // The process may have ended; otherwise this ends it, and what remains are its stops.
        let _ = kill(self.pid, Signal::SIGKILL);
        while let Ok(WaitStatus::Stopped(..) | WaitStatus::PtraceEvent(..)) = self.status() {
            let _ = self.go_on();
        }
    }
}

/// The child: gives up what it can by itself, then stops for its tender. It never runs on from there.
#[expect(unsafe_code, reason = "ends the process as it stands")]
fn offer(tender: Pid, user: Option<u32>) -> ! {
    // The kernel forgets the signal when the process becomes another user, and the tender may be gone before.
    let given_up = sandbox::enter(user).and_then(|()| Ok(prctl::set_pdeathsig(Signal::SIGKILL)?));
    if given_up.is_ok() && getppid() == tender && ptrace::traceme().is_ok() {
        let _ = raise(Signal::SIGSTOP);
    }
    // SAFETY: does not return, so nothing that a destructor would have released is used again.
    unsafe { libc::_exit(1) }
}

#[expect(unsafe_code, reason = "a field of a union")]
fn faulting_address(information: &libc::siginfo_t) -> u64 {
    // SAFETY: the kernel fills the whole structure; for a signal that is no fault the number is not used.
    unsafe { information.si_addr() as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_of_the_processor_are_faults_and_sent_ones_are_not() {
        let vector = |signal, code| match Fault::of_signal(signal, code, 7)?.cause() {
            CrashCause::Exception { vector, .. } => vector,
            other => panic!("{other:?}"),
        };
        assert_eq!(vector(Signal::SIGSEGV, SEGV_MAPERR), Some(PAGE_FAULT));
        assert_eq!(vector(Signal::SIGSEGV, SI_KERNEL), Some(GENERAL_PROTECTION));
        assert_eq!(vector(Signal::SIGTRAP, SI_KERNEL), Some(BREAKPOINT));
        for signal in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGTRAP] {
            for sent in [libc::SI_USER, libc::SI_TKILL, libc::SI_QUEUE] {
                assert_eq!(Fault::of_signal(signal, sent, 7), None, "{signal}");
            }
        }
        assert_eq!(Fault::of_signal(Signal::SIGTERM, SI_KERNEL, 7), None);
    }
}
