//! The launcher: a small single-threaded parent that holds the host's wrapping keys and forks one process per card.
//!
//! ```text
//! wait for Hello ─▶ image, template, host keys ─▶ Ready ─▶ ┌─ request ─▶ Start: unwrap, fork, Started
//!                                                           │             Kill: SIGKILL
//!                                                           │             Keys: rotate, rewrap, retire
//!                                                           └─ SIGCHLD ─▶ Exited
//! ```
//!
//! When the daemon's socket closes the launcher ends, and every card with it (`PR_SET_PDEATHSIG`).

mod backend;
pub mod card_key;
pub mod datagram;
pub mod host_keys;
pub mod isolation;
pub mod key_file;
mod keys;
mod root;
pub mod sealed_file;
pub mod secret_pages;
mod spawn;

use std::{
    collections::HashMap,
    fs::File,
    io::{Read, Seek, Write},
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use crate::{
    card::{
        machine::{MachineError, kvm::Blueprint},
        memory::MemoryError,
        seccomp,
        template::TemplateError,
    },
    image::{Image, ImageError},
    tpm::{Tpm, TpmError},
};
use backend::{Backend, open_kvm};
use cardhost_wire::{
    boot::MEMORY_SIZE,
    control::{self, HostMessage, Launch},
    custody::Custody,
    launch::{Isolation, Refusal, Reply, Request, Start, UserIds, VERSION},
};
use datagram::ReceiveError;
use host_keys::{HostKeys, HostKeysError};
use isolation::MissingLayer;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use seccompiler::{BackendError, BpfProgram};

/// Longest image read; guest memory is smaller.
const MAX_IMAGE: u64 = 2 * MEMORY_SIZE;

/// Why the launcher cannot work, or ends.
#[derive(Debug, thiserror::Error)]
pub enum LauncherError {
    /// The daemon's socket.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// The daemon's first message was not the one for this version.
    #[error("the daemon speaks another version of the launcher's protocol")]
    Version,
    /// `/dev/kvm` may not be opened.
    #[error(
        "no access to /dev/kvm: add the user to the group that owns it (usermod -aG kvm USER) and log in again, or run \
         cards as processes, which isolates less (--insecure-process-isolation)"
    )]
    KvmAccess,
    /// `/dev/kvm` cannot be used.
    #[error(
        "/dev/kvm cannot be used; cards can run as processes, which isolates less (--insecure-process-isolation)"
    )]
    Kvm(#[source] kvm_ioctls::Error),
    /// KVM refused the first virtual machine.
    #[error("KVM refuses a virtual machine")]
    Machine(#[from] MachineError),
    /// The host's wrapping keys.
    #[error(transparent)]
    HostKeys(#[from] HostKeysError),
    /// The TPM that keeps the host's wrapping keys.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The guest image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The table of system calls.
    #[error("the system call filter cannot be compiled")]
    Filter(#[from] BackendError),
    /// Guest memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The guest does not run to its idle moment.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The system refused something else.
    #[error("{what}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What it said.
        source: Errno,
    },
}

/// Everything a card's process is made from.
pub struct Launcher {
    socket: OwnedFd,
    backend: Backend,
    image: Image,
    /// `None` if the launcher cannot make a process somebody else's.
    card_users: Option<UserIds>,
    filter: BpfProgram,
    host_keys: HostKeys,
    children: SignalFd,
    cards: HashMap<Pid, u64>,
}

/// Serves one daemon on `socket` until it closes.
///
/// # Errors
/// The reason why cards cannot run; the daemon has been told as well.
pub fn run(socket: OwnedFd) -> Result<(), LauncherError> {
    match Launcher::greet(socket.as_fd().try_clone_to_owned().map_err(|_| LauncherError::Version)?) {
        Ok(mut launcher) => launcher.serve(),
        Err(error) => {
            let text = Reply::Unusable(explain(&error));
            // The daemon may be gone; the error is reported on the log all the same.
            let _ = datagram::reply(socket.as_fd(), &text);
            Err(error)
        }
    }
}

/// Tries whether cards can run here: opens KVM, makes one virtual machine, and says which layers of their isolation
/// would be missing. To be called in a process that ends after it.
///
/// # Errors
/// The reason why not.
pub fn check() -> Result<Vec<MissingLayer>, LauncherError> {
    Blueprint::gather(&open_kvm()?)?;
    Ok(isolation::missing())
}

/// An error with its causes, in one line.
pub fn explain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

impl Launcher {
    fn greet(socket: OwnedFd) -> Result<Self, LauncherError> {
        isolation::leave_session();
        harden()?;
        let (
            Request::Hello { version: VERSION, host_key, custody, measurement, card_users, isolation },
            Some(image),
        ) = datagram::receive(socket.as_fd())?
        else {
            return Err(LauncherError::Version);
        };
        let image = Image::load(&contents(image)?, measurement)?;
        let backend = Backend::prepare(isolation, &image)?;
        if isolation == Isolation::Process {
            adopt_guests()?;
            log(
                "layer missing: cards are processes, not virtual machines: the host's kernel alone keeps them in",
            );
        }
        let card_users = isolation::may_become_others().then_some(card_users);
        let users = card_users.map(drop).ok_or(MissingLayer::CardUsers);
        // Before there is no network and no device any more; it stays.
        let tpm = custody.tcti().map(Tpm::connect).transpose()?;
        let namespaces = isolation::enter_namespaces();
        let host_keys = host_keys(Path::new(&host_key), &custody, tpm)?;
        let locking = host_keys.swappable().map_or(Ok(()), |why| Err(MissingLayer::Locking(why)));
        let layers = [users, namespaces, isolation::enter_root(), locking];
        for missing in layers.into_iter().filter_map(Result::err) {
            log(&format!("layer missing: {missing}"));
        }
        Ok(Self {
            socket,
            card_users,
            filter: seccomp::program(isolation)?,
            backend,
            image,
            host_keys,
            children: child_signals()?,
            cards: HashMap::new(),
        })
    }

    fn serve(&mut self) -> Result<(), LauncherError> {
        self.reply(&Reply::Ready { isolation: self.backend.isolation() })?;
        loop {
            let (request, child) = self.wait()?;
            if child {
                self.reap()?;
            }
            if request && !self.request()? {
                return Ok(());
            }
        }
    }

    /// Blocks until there is a request or an ended child.
    fn wait(&self) -> Result<(bool, bool), LauncherError> {
        let mut ready = [
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.children.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut ready, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => Ok((ready[0].any() == Some(true), ready[1].any() == Some(true))),
            Err(source) => Err(LauncherError::System { what: "poll", source }),
        }
    }

    /// Handles one request. False once the daemon is gone.
    fn request(&mut self) -> Result<bool, LauncherError> {
        match datagram::receive(self.socket.as_fd()) {
            Ok((Request::Start(start), link)) => self.start(&start, link)?,
            Ok((Request::Kill { instance }, _)) => self.kill(instance),
            Ok((Request::Keys(request), _)) => {
                let answer = keys::answer(&mut self.host_keys, self.image.measurement, &request);
                self.reply(&Reply::Keys(answer))?;
            }
            Ok((Request::Kept(request), _)) => {
                let answer = keys::kept(&mut self.host_keys, &request);
                self.reply(&Reply::Kept(answer))?;
            }
            Ok((Request::Hello { .. }, _)) => return Err(LauncherError::Version),
            Err(ReceiveError::Closed) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }

    fn start(&mut self, start: &Start, link: Option<OwnedFd>) -> Result<(), LauncherError> {
        // The kernel leaves a descriptor out for which the launcher has no room.
        let no_link = || Refusal::Resources("no descriptor for the link arrived".to_owned());
        let reply = match link.ok_or_else(no_link).and_then(|link| self.spawn(start, link)) {
            Ok((pid, wrapped_key)) => {
                self.cards.insert(pid, start.instance);
                Reply::Started { instance: start.instance, pid: pid.as_raw() as u32, wrapped_key }
            }
            Err(reason) => Reply::Refused { instance: start.instance, reason },
        };
        self.reply(&reply)
    }

    fn spawn(&mut self, start: &Start, link: OwnedFd) -> Result<(Pid, Vec<u8>), Refusal> {
        let mut launch = Self::launch(start);
        let HostMessage::Launch(contents) = &mut *launch else { unreachable!("made above") };
        random(&mut contents.seed)?;
        let (wrapped_key, policy) =
            keys::of_start(&self.host_keys, self.image.measurement, start, &mut contents.card_key)?;
        contents.image_policy = policy.id;
        let pid = spawn::spawn(self, &mut launch, link, start)
            .map_err(|error| Refusal::Resources(format!("fork: {error}")))?;
        Ok((pid, wrapped_key))
    }

    /// A launch message without its secrets and policy. Boxed, so that these never move once they are in it.
    fn launch(start: &Start) -> Box<HostMessage> {
        Box::new(HostMessage::Launch(Launch {
            version: control::VERSION,
            seed: [0; 32],
            card: start.card,
            owner: start.owner,
            image_policy: [0; 32],
            card_key: [0; 32],
            default_keys: start.default_keys,
        }))
    }

    fn kill(&self, instance: u64) {
        if let Some((pid, _)) = self.cards.iter().find(|(_, other)| **other == instance) {
            // A child that has ended but was not reaped yet takes the signal without effect.
            let _ = kill(*pid, Signal::SIGKILL);
        }
    }

    /// Tells the daemon of every child that has ended.
    fn reap(&mut self) -> Result<(), LauncherError> {
        while let Ok(Some(_)) = self.children.read_signal() {}
        loop {
            let (pid, code, signal) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Some(code), None),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, None, Some(signal as i32)),
                _ => return Ok(()),
            };
            if let Some(instance) = self.cards.remove(&pid) {
                self.reply(&Reply::Exited { instance, code, signal })?;
            }
        }
    }

    fn reply(&self, reply: &Reply) -> Result<(), LauncherError> {
        match datagram::reply(self.socket.as_fd(), reply) {
            // The daemon is gone, which the next request says.
            Ok(()) | Err(Errno::EPIPE) => Ok(()),
            Err(source) => Err(LauncherError::System { what: "reply to the daemon", source }),
        }
    }
}

fn host_keys(path: &Path, custody: &Custody, tpm: Option<Tpm>) -> Result<HostKeys, HostKeysError> {
    match (custody, tpm) {
        (Custody::Tpm(sealing, _), Some(tpm)) => HostKeys::open_with(path, *sealing, tpm),
        _ => HostKeys::open(path),
    }
}

fn random(bytes: &mut [u8]) -> Result<(), Refusal> {
    getrandom::fill(bytes).map_err(|error| Refusal::Resources(error.to_string()))
}

/// From the beginning: the offset is shared with the daemon, which wrote the file, and with earlier launchers.
fn contents(image: OwnedFd) -> Result<Vec<u8>, LauncherError> {
    let (mut image, mut bytes) = (File::from(image), Vec::new());
    let read = image.rewind().and_then(|()| image.take(MAX_IMAGE).read_to_end(&mut bytes));
    read.map_err(|error| LauncherError::Image(error.into()))?;
    Ok(bytes)
}

/// One line in the host's log. If the log is gone the cards run all the same.
fn log(line: &str) {
    let _ = writeln!(std::io::stderr(), "cardhost-vmm: {line}");
}

fn harden() -> Result<(), LauncherError> {
    let hardened = prctl::set_dumpable(false).and_then(|()| prctl::set_no_new_privs());
    hardened.map_err(|source| LauncherError::System { what: "prctl", source })
}

/// The guest of a card's process that has ended becomes the launcher's child, which takes note of its end.
fn adopt_guests() -> Result<(), LauncherError> {
    prctl::set_child_subreaper(true).map_err(|source| LauncherError::System { what: "prctl", source })
}

fn child_signals() -> Result<SignalFd, LauncherError> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    let signals = mask
        .thread_block()
        .and_then(|()| SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC));
    signals.map_err(|source| LauncherError::System { what: "signalfd", source })
}
