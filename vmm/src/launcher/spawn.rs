//! The fork: from the launcher to one card's process.

use std::{
    convert::Infallible,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
};

use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::{SigSet, Signal},
        socket::{AddressFamily, SockFlag, SockType, socketpair},
    },
    unistd::{ForkResult, Pid, getppid},
};

use super::{
    Launcher,
    backend::Backend,
    control_groups::{Group, fork},
    explain, log,
    pool::Process,
};
use crate::{
    card::{Card, End, link::Link, machine::Machine, sandbox, scratch, seccomp},
    device::{streams::Streams, transport::Transport},
};

/// The card ended because it was switched off.
const EXIT_OFF: i32 = 0;
/// The card could not be set up.
const EXIT_SET_UP: i32 = 2;
/// The guest crashed.
const EXIT_CRASHED: i32 = 3;
/// The daemon broke the link's contract.
const EXIT_DAEMON: i32 = 4;

/// Where the kept descriptors stand in a card's process; standard error stays 2.
const LINK: RawFd = 3;
const ORIGIN: RawFd = 4;
const FIRST_UNUSED: libc::c_uint = 5;
/// Out of the way of the numbers above while they are arranged.
const ASIDE: RawFd = 64;

/// Forks the launcher's nth process.
///
/// # Errors
/// The system has no room for another process.
#[expect(unsafe_code, reason = "fork")]
pub fn spawn(launcher: &Launcher, number: u64, group: Option<&Group>) -> Result<Process, Errno> {
    let parent = nix::unistd::getpid();
    let (daemons, link) = pair()?;
    // SAFETY: the launcher has one thread.
    match unsafe { fork(group) }? {
        ForkResult::Parent { child } => Ok(Process { pid: child, link: daemons }),
        ForkResult::Child => {
            let joined = launcher.join(group);
            let Err(error) = joined.and_then(|()| live(launcher, &link, number, parent));
            log(&format!("card not set up: {}", explain(&*error)));
            exit(EXIT_SET_UP)
        }
    }
}

type SetUpError = Box<dyn std::error::Error>;

impl Launcher {
    /// Has the calling process be in its control groups before it takes anything that they count.
    fn join(&self, group: Option<&Group>) -> Result<(), SetUpError> {
        match (&self.groups, group) {
            (Some(groups), Some(group)) => {
                Ok(groups.join(group).map_err(|error| format!("control group: {error}"))?)
            }
            _ => Ok(()),
        }
    }
}

/// A link's two ends, the daemon's first.
fn pair() -> Result<(UnixStream, OwnedFd), Errno> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
    Ok((ours.into(), theirs))
}

fn live(launcher: &Launcher, link: &OwnedFd, number: u64, parent: Pid) -> Result<Infallible, SetUpError> {
    die_with(parent)?;
    SigSet::empty().thread_set_mask()?;
    let Kept { link, origin } = keep_only(link, launcher.backend.descriptor())?;
    let user = launcher.card_users.map(|users| users.of_process(number));
    let birth = Birth { launcher, link, user, parent };
    match &launcher.backend {
        Backend::Kvm(machines) => birth.run(machines.machine(origin)?, machines.template.device.clone()),
        Backend::Process(processes) => {
            birth.run(processes.machine(origin, user)?, processes.template.device.clone())
        }
    }
}

/// A card's process whose machine is made.
struct Birth<'a> {
    launcher: &'a Launcher,
    link: UnixStream,
    user: Option<u32>,
    parent: Pid,
}

impl Birth<'_> {
    fn run(self, machine: impl Machine, device: (Transport, Streams)) -> Result<Infallible, SetUpError> {
        let (link, symbols) = (Link::new(self.link), &self.launcher.image.symbols);
        let mut card = Card::new(machine, device, link, symbols, self.launcher.cpu_budget_ms)?;
        sandbox::enter(self.user)?;
        // The kernel forgets the first request when the process becomes another user.
        die_with(self.parent)?;
        scratch::release();
        seccomp::install(&self.launcher.filter)?;
        exit(finish(&card.run()))
    }
}

/// Ends the process without destructors: the launcher's are the parent's, and the card's would take system calls
/// that its filter does not know.
#[expect(unsafe_code, reason = "ends the process as it stands")]
fn exit(code: i32) -> ! {
    // SAFETY: does not return, so nothing that a destructor would have released is used again.
    unsafe { libc::_exit(code) }
}

/// The launcher's death ends the card; it may have died already.
fn die_with(parent: Pid) -> Result<(), SetUpError> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() == parent { Ok(()) } else { Err("the launcher is gone".into()) }
}

/// The only descriptors that a card's process has from its launcher, beside standard error.
struct Kept {
    link: UnixStream,
    /// What its machine is made from: `/dev/kvm`, or the template's memory.
    origin: OwnedFd,
}

/// Moves what is needed to known numbers and closes everything else.
#[expect(unsafe_code, reason = "the child's copies of the launcher's descriptors are closed by number")]
fn keep_only(link: &OwnedFd, origin: RawFd) -> Result<Kept, Errno> {
    let sources = [link.as_raw_fd(), origin];
    // SAFETY: plain descriptor calls. The launcher's owners of these numbers exist in this process too, but are
    // never used or dropped again: it ends by `_exit`. The two numbers taken over below have no other owner.
    unsafe {
        for (source, number) in sources.into_iter().zip([LINK, ORIGIN]) {
            Errno::result(libc::fcntl(source, libc::F_DUPFD_CLOEXEC, ASIDE + number))?;
        }
        for number in [LINK, ORIGIN] {
            Errno::result(libc::dup2(ASIDE + number, number))?;
        }
        libc::close(0);
        libc::close(1);
        Errno::result(libc::close_range(FIRST_UNUSED, libc::c_uint::MAX, 0))?;
        Ok(Kept { link: UnixStream::from_raw_fd(LINK), origin: OwnedFd::from_raw_fd(ORIGIN) })
    }
}

/// The last line in the log, and the exit code.
fn finish(end: &End) -> i32 {
    match end {
        End::SwitchedOff => EXIT_OFF,
        End::Crashed(_) => {
            log(&format!("the guest crashed: {end}"));
            EXIT_CRASHED
        }
        End::Daemon(_) | End::TooMuchData(_) => {
            log(&explain(end));
            EXIT_DAEMON
        }
    }
}
