//! `cardhost-vmm`, with this test in the daemon's place.

use std::{
    cell::RefCell,
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{IoSlice, IoSliceMut, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use cardhost_wire::{
    custody::Custody,
    launch::{Hello, Isolation, MAX_MESSAGE, Reply, Request, Start, UserIds, VERSION},
    layers::{Layer, LayerName},
};
use nix::sys::{
    memfd::{MFdFlags, memfd_create},
    socket::{
        AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, setsockopt, socketpair, sockopt,
    },
    time::{TimeVal, TimeValLike},
};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tempfile::TempDir;

use crate::{
    card::Card,
    guest::{self, Guest},
};

/// Longest wait for anything; reached only by a failure.
pub const LIMIT_SECONDS: i64 = 60;
/// What is tested.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_cardhost-vmm");

/// True if cards can run here; else says that the test does not run.
pub fn kvm() -> bool {
    let usable = OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    if !usable {
        eprintln!("NOT RUN: /dev/kvm cannot be opened");
    }
    usable
}

/// A launcher's process.
pub struct Launcher {
    socket: OwnedFd,
    pub process: Child,
    pub folder: TempDir,
    set_aside: RefCell<VecDeque<Reply>>,
    instances: RefCell<u64>,
}

impl Launcher {
    /// A launcher that accepts starts of this guest.
    pub fn new(guest: &Guest) -> Self {
        Self::isolating(Isolation::MicroVm, guest)
    }

    /// A launcher that accepts starts of this guest and keeps cards apart in this way.
    pub fn isolating(isolation: Isolation, guest: &Guest) -> Self {
        let launcher = Self::spawn(None);
        launcher.hello_as(isolation, guest);
        launcher.ready(isolation);
        launcher
    }

    /// Another launcher with the same keys. It waits until the one before has ended.
    pub fn after(host_key: &Path, isolation: Isolation, guest: &Guest) -> Self {
        let next = Self::spawn(None);
        next.greet(isolation, guest, guest.measurement, host_key);
        next.ready(isolation);
        next
    }

    /// A launcher that waits for its first message, run as this user if one is given.
    pub fn spawn(user: Option<u32>) -> Self {
        let mut command = Command::new(PROGRAM);
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        Self::run(command)
    }

    /// A launcher that this command becomes.
    pub fn run(mut command: Command) -> Self {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        limit(&ours);
        let process = command.stdin(Stdio::from(theirs)).spawn().unwrap();
        Self {
            socket: ours,
            process,
            folder: tempfile::tempdir().unwrap(),
            set_aside: RefCell::default(),
            instances: RefCell::default(),
        }
    }

    pub fn host_key(&self) -> PathBuf {
        self.folder.path().join("host.key")
    }

    pub fn hello(&self, guest: &Guest, measurement: [u8; 32]) {
        self.greet(Isolation::MicroVm, guest, measurement, &self.host_key());
    }

    /// Tells it this guest, and how to keep cards apart.
    pub fn hello_as(&self, isolation: Isolation, guest: &Guest) {
        self.greet(isolation, guest, guest.measurement, &self.host_key());
    }

    fn greet(&self, isolation: Isolation, guest: &Guest, measurement: [u8; 32], host_key: &Path) {
        let host_key = host_key.to_str().unwrap().to_owned();
        let cpu_budget_ms = guest.budget_ms;
        self.introduce(guest, Hello { host_key, measurement, isolation, cpu_budget_ms, ..hello() });
    }

    /// Tells it this, with the guest.
    pub fn introduce(&self, guest: &Guest, hello: Hello) {
        let mut image = File::from(memfd_create(c"guest", MFdFlags::MFD_CLOEXEC).unwrap());
        image.write_all(&guest.elf).unwrap();
        self.request(&Request::Hello(hello), Some(image.as_fd()));
    }

    /// Waits until it accepts starts; the layers that it tells of, each once.
    pub fn ready(&self, expected: Isolation) -> Vec<Layer> {
        let Reply::Ready { isolation, layers } = self.next() else { panic!("it accepts starts") };
        assert_eq!(isolation, expected);
        assert_eq!(layers.iter().map(|layer| layer.name).collect::<Vec<_>>(), LayerName::ALL);
        layers
    }

    /// A card that runs, with nothing opened yet.
    pub fn card(&self) -> Card {
        self.card_with(|_| {})
    }

    /// A card whose start is altered by `alter`.
    pub fn card_with(&self, alter: impl FnOnce(&mut Start)) -> Card {
        match self.start(alter) {
            (Reply::Started { instance, pid, wrapped_key }, Some(link)) => {
                Card { instance, pid, wrapped_key, link: link.into() }
            }
            (other, link) => panic!("{other:?} {link:?}"),
        }
    }

    /// The reply to a start, and the link if there is a card.
    pub fn start(&self, alter: impl FnOnce(&mut Start)) -> (Reply, Option<UnixStream>) {
        let instance = self.instances.replace_with(|last| *last + 1);
        let mut start = Start {
            instance,
            card: [7; 16],
            owner: [8; 32],
            wrapped_key: None,
            image: [0; 32],
            adopt: false,
            default_keys: false,
        };
        alter(&mut start);
        self.request(&Request::Start(start), None);
        let about = |reply: &Reply| match reply {
            Reply::Started { instance: other, .. } | Reply::Refused { instance: other, .. } => {
                *other == instance
            }
            _ => false,
        };
        let (reply, link) = self.reply_with_link(about);
        link.iter().for_each(limit);
        (reply, link)
    }

    pub fn kill(&self, instance: u64) {
        self.request(&Request::Kill { instance }, None);
    }

    /// Exit code and signal of this instance's end.
    pub fn ended(&self, instance: u64) -> (Option<i32>, Option<i32>) {
        let about =
            |reply: &Reply| matches!(reply, Reply::Exited { instance: other, .. } if *other == instance);
        match self.reply(about) {
            Reply::Exited { code, signal, .. } => (code, signal),
            _ => unreachable!("asked for"),
        }
    }

    pub fn request(&self, request: &Request, descriptor: Option<BorrowedFd<'_>>) {
        self.send(&request.encode(), descriptor);
    }

    pub fn send(&self, message: &[u8], descriptor: Option<BorrowedFd<'_>>) {
        let descriptors: Vec<_> = descriptor.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let rights = if descriptors.is_empty() { &[][..] } else { &rights };
        let message = [IoSlice::new(message)];
        sendmsg::<()>(self.socket.as_raw_fd(), &message, rights, MsgFlags::MSG_NOSIGNAL, None).unwrap();
    }

    /// The first reply that is `wanted`; others stay for later.
    pub fn reply(&self, wanted: impl Fn(&Reply) -> bool) -> Reply {
        self.reply_with_link(wanted).0
    }

    fn reply_with_link(&self, wanted: impl Fn(&Reply) -> bool) -> (Reply, Option<UnixStream>) {
        let mut set_aside = self.set_aside.borrow_mut();
        if let Some(at) = set_aside.iter().position(&wanted) {
            return (set_aside.remove(at).unwrap(), None);
        }
        loop {
            let (reply, link) = self.receive().expect("the launcher serves");
            if wanted(&reply) {
                return (reply, link);
            }
            assert!(link.is_none(), "a card that nobody waits for: {reply:?}");
            set_aside.push_back(reply);
        }
    }

    /// The next reply.
    pub fn next(&self) -> Reply {
        self.next_if_any().expect("the launcher serves")
    }

    /// The next reply, `None` once the launcher has ended.
    pub fn next_if_any(&self) -> Option<Reply> {
        self.receive().map(|(reply, _)| reply)
    }

    fn receive(&self) -> Option<(Reply, Option<UnixStream>)> {
        let mut message = vec![0; MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        // A socket with a time limit may be interrupted where one without would go on.
        let length = rustix::io::retry_on_intr(|| {
            let slices = &mut [IoSliceMut::new(&mut message)];
            recvmsg(&self.socket, slices, &mut control, RecvFlags::CMSG_CLOEXEC)
        });
        let length = length.expect("a reply in time").bytes;
        let rights = control.drain().filter_map(|part| match part {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        let link = rights.flatten().next().map(UnixStream::from);
        (length > 0).then(|| (Reply::decode(&message[..length]).unwrap(), link))
    }

    /// Closes the socket, as the daemon's end does, and waits for the launcher's end.
    pub fn close(self) -> bool {
        let (mut process, _folder) = self.hang_up();
        process.wait().unwrap().success()
    }

    /// Closes the socket. The launcher still has its folder.
    pub fn hang_up(self) -> (Child, TempDir) {
        (self.process, self.folder)
    }
}

/// What every launcher is told that is told nothing else.
pub fn hello() -> Hello {
    Hello {
        version: VERSION,
        host_key: String::new(),
        custody: Custody::File,
        measurement: [0; 32],
        card_users: UserIds::DEFAULT,
        isolation: Isolation::MicroVm,
        control_group: None,
        cpu_budget_ms: guest::GENEROUS_MS,
        warm_pool: 0,
    }
}

fn limit(socket: &impl AsFd) {
    setsockopt(socket, sockopt::ReceiveTimeout, &TimeVal::seconds(LIMIT_SECONDS)).unwrap();
    setsockopt(socket, sockopt::SendTimeout, &TimeVal::seconds(LIMIT_SECONDS)).unwrap();
}
