//! The launcher: a small single-threaded parent that holds the host's wrapping keys and forks one process per card.
//!
//! ```text
//! wait for Hello ─▶ image, template, host keys ─▶ Ready ─▶ ┌─ request ─▶ Start: unwrap, take a process, Started
//!                                                           │             Kill: SIGKILL
//!                                                           │             Keys: rotate, rewrap, retire
//!                                                           ├─ SIGCHLD ─▶ Exited
//!                                                           └─ nothing ─▶ fork one more for the warm pool
//! ```
//!
//! When the daemon's socket closes the launcher ends, and every card with it (`PR_SET_PDEATHSIG`).

mod backend;
pub mod card_key;
pub mod control_groups;
pub mod datagram;
pub mod host_keys;
pub mod isolation;
pub mod key_file;
mod keys;
mod layers;
pub mod pool;
mod root;
pub mod sealed_file;
pub mod secret_pages;
mod spawn;
mod subordinate;
mod user_namespace;

use std::{
    collections::HashMap,
    fs::File,
    io::{Read, Seek, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    time::Duration,
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
    launch::{Hello, Isolation, Refusal, Reply, Request, Start, UserIds, VERSION},
    layers::Layer,
};
use control_groups::{ControlGroups, ControlGroupsError};
use datagram::ReceiveError;
use host_keys::{HostKeys, HostKeysError};
use layers::Entered;
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
use pool::{Pool, Process};
use seccompiler::{BackendError, BpfProgram};

/// Longest image read; guest memory is smaller.
const MAX_IMAGE: u64 = 2 * MEMORY_SIZE;
/// Without a request for so long there is time to refill the warm pool: what a card's first exchange takes, which
/// a fork beside it would disturb.
const LULL: Duration = Duration::from_millis(2);

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
    /// The control groups that an operator asked for.
    #[error(transparent)]
    ControlGroups(#[from] ControlGroupsError),
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
    /// `None` if cards have no control groups.
    groups: Option<ControlGroups>,
    layers: Vec<Layer>,
    filter: BpfProgram,
    host_keys: HostKeys,
    children: SignalFd,
    cpu_budget_ms: u32,
    pool: Pool,
    processes: HashMap<Pid, Child>,
}

/// What the launcher has to do.
struct Ready {
    request: bool,
    child: bool,
}

/// A card's process.
struct Child {
    /// Of the processes that the launcher has forked.
    number: u64,
    /// The start that took it; `None` while it waits.
    instance: Option<u64>,
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
            let _ = datagram::reply(socket.as_fd(), &text, None);
            Err(error)
        }
    }
}

/// Tries whether cards can run here: opens KVM, makes one virtual machine, and says which layers of isolation they would
/// have, with control groups below `parent` if one is given. To be called in a process that ends after it.
///
/// # Errors
/// The reason why not.
pub fn check(parent: Option<&Path>) -> Result<Vec<Layer>, LauncherError> {
    Blueprint::gather(&open_kvm()?)?;
    layers::trial(Isolation::MicroVm, parent)
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
        let (Request::Hello(hello), Some(image)) = datagram::receive(socket.as_fd())? else {
            return Err(LauncherError::Version);
        };
        if hello.version != VERSION {
            return Err(LauncherError::Version);
        }
        let image = Image::load(&contents(image)?, hello.measurement)?;
        Self::prepare(socket, &hello, image)
    }

    fn prepare(socket: OwnedFd, hello: &Hello, image: Image) -> Result<Self, LauncherError> {
        let backend = Backend::prepare(hello.isolation, &image)?;
        if hello.isolation == Isolation::Process {
            adopt_guests()?;
        }
        // Before there is no network and no device any more; it stays.
        let tpm = hello.custody.tcti().map(Tpm::connect).transpose()?;
        let (namespaces, users) = isolation::enter_namespaces(hello.card_users);
        no_new_privileges()?;
        let card_users = users.as_ref().ok().map(|users| users.ids);
        let host_keys = host_keys(Path::new(&hello.host_key), &hello.custody, tpm)?;
        let groups = hello.control_group.as_deref().map(Path::new).map(ControlGroups::open).transpose()?;
        let entered = Entered {
            isolation: hello.isolation,
            users,
            namespaces,
            groups: groups.as_ref(),
            root: isolation::enter_root(),
            swappable: host_keys.swappable(),
        };
        let layers = entered.layers();
        Ok(Self {
            socket,
            card_users,
            groups,
            layers,
            filter: seccomp::program(hello.isolation)?,
            backend,
            image,
            host_keys,
            children: child_signals()?,
            cpu_budget_ms: hello.cpu_budget_ms,
            pool: Pool::new(hello.warm_pool),
            processes: HashMap::new(),
        })
    }

    fn serve(&mut self) -> Result<(), LauncherError> {
        let layers = std::mem::take(&mut self.layers);
        self.reply(&Reply::Ready { isolation: self.backend.isolation(), layers })?;
        loop {
            let Ready { request, child } = self.wait()?;
            if child {
                self.reap()?;
            }
            if !request && !child && self.pool.is_short() {
                self.refill();
            }
            if request && !self.request()? {
                self.end_cards();
                return Ok(());
            }
        }
    }

    /// Blocks until there is a request or an ended child, or the time to fork ahead.
    fn wait(&self) -> Result<Ready, LauncherError> {
        let mut ready = [
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.children.as_fd(), PollFlags::POLLIN),
        ];
        let patience = if self.pool.is_short() {
            PollTimeout::try_from(LULL).expect("a few milliseconds")
        } else {
            PollTimeout::NONE
        };
        match poll(&mut ready, patience) {
            Ok(_) | Err(Errno::EINTR) => {
                Ok(Ready { request: ready[0].any() == Some(true), child: ready[1].any() == Some(true) })
            }
            Err(source) => Err(LauncherError::System { what: "poll", source }),
        }
    }

    /// Handles one request. False once the daemon is gone.
    fn request(&mut self) -> Result<bool, LauncherError> {
        match datagram::receive(self.socket.as_fd()) {
            Ok((Request::Start(start), _)) => self.start(&start)?,
            Ok((Request::Kill { instance }, _)) => self.kill(instance),
            Ok((Request::Keys(request), _)) => {
                let answer = keys::answer(&mut self.host_keys, self.image.measurement, &request);
                self.reply(&Reply::Keys(answer))?;
            }
            Ok((Request::Kept(request), _)) => {
                let answer = keys::kept(&mut self.host_keys, &request);
                self.reply(&Reply::Kept(answer))?;
            }
            Ok((Request::Hello(_), _)) => return Err(LauncherError::Version),
            Err(ReceiveError::Closed) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }

    fn start(&mut self, start: &Start) -> Result<(), LauncherError> {
        let instance = start.instance;
        match self.begin(start) {
            Ok((Process { pid, link }, wrapped_key)) => {
                let child = self.processes.get_mut(&pid).expect("a process is known until it is reaped");
                child.instance = Some(instance);
                let started = Reply::Started { instance, pid: pid.as_raw() as u32, wrapped_key };
                self.reply_with(&started, Some(link.as_fd()))
            }
            Err(reason) => self.reply(&Reply::Refused { instance, reason }),
        }
    }

    fn end_group(&mut self, number: u64) {
        if let Some(groups) = &mut self.groups {
            groups.end(number);
        }
    }

    /// A card's launch, and its wrapped key. Boxed, so that the secrets never move once they are in it.
    fn launch(&self, start: &Start) -> Result<(Box<HostMessage>, Vec<u8>), Refusal> {
        let mut launch = Box::new(HostMessage::Launch(Launch {
            version: control::VERSION,
            seed: [0; 32],
            card: start.card,
            owner: start.owner,
            image_policy: [0; 32],
            card_key: [0; 32],
            default_keys: start.default_keys,
        }));
        let HostMessage::Launch(contents) = &mut *launch else { unreachable!("made above") };
        random(&mut contents.seed)?;
        let (wrapped_key, policy) =
            keys::of_start(&self.host_keys, self.image.measurement, start, &mut contents.card_key)?;
        contents.image_policy = policy.id;
        Ok((launch, wrapped_key))
    }

    fn kill(&self, instance: u64) {
        if let Some((pid, _)) = self.processes.iter().find(|(_, child)| child.instance == Some(instance)) {
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
                _ => break,
            };
            // Else a guest of a card's process.
            let Some(Child { number, instance }) = self.processes.remove(&pid) else { continue };
            self.end_group(number);
            match instance {
                Some(instance) => self.reply(&Reply::Exited { instance, code, signal })?,
                None => self.pool.ended(pid),
            }
        }
        self.groups.iter_mut().for_each(ControlGroups::remove_ended);
        Ok(())
    }

    /// Ends what the launcher's own end would end, where something of it would be left: the cards' control groups.
    fn end_cards(&mut self) {
        let Some(groups) = &mut self.groups else { return };
        for pid in self.processes.keys() {
            // It may have ended already.
            let _ = kill(*pid, Signal::SIGKILL);
        }
        for (pid, child) in self.processes.drain() {
            // Only a child that is no child any more is not waited for.
            let _ = waitpid(pid, None);
            groups.end(child.number);
        }
        // The guests of cards' processes are children now.
        while waitpid(None, None).is_ok() {}
        groups.remove_ended();
    }

    fn reply(&self, reply: &Reply) -> Result<(), LauncherError> {
        self.reply_with(reply, None)
    }

    fn reply_with(&self, reply: &Reply, link: Option<BorrowedFd<'_>>) -> Result<(), LauncherError> {
        match datagram::reply(self.socket.as_fd(), reply, link) {
            // The daemon is gone, perhaps with replies unread, which the next request says.
            Ok(()) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
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
    prctl::set_dumpable(false).map_err(|source| LauncherError::System { what: "prctl", source })
}

/// Not before the users of cards are mapped, for which a program may need a privilege.
fn no_new_privileges() -> Result<(), LauncherError> {
    prctl::set_no_new_privs().map_err(|source| LauncherError::System { what: "prctl", source })
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
