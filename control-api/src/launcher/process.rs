//! The launcher's process and its socket.

use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut, Seek as _, Write as _},
    mem::MaybeUninit,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    process::Stdio,
    time::Duration,
};

use cardhost_wire::{
    launch::{Hello, MAX_MESSAGE, Reply, Request, VERSION},
    layers::Layer,
};
use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::{
        memfd::{MFdFlags, memfd_create},
        socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair},
    },
};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::{
    net::UnixDatagram,
    process::{Child, Command},
    time,
};

use super::{Config, LauncherError};

/// How long the launcher may take until it accepts starts.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// What is run, in sealed memory.
pub(super) struct Program {
    vmm: File,
    guest: File,
    pub(super) config: Config,
}

impl Program {
    pub(super) fn new(config: Config) -> io::Result<Self> {
        let vmm = sealed("cardhost-vmm", config.image.vmm)?;
        let guest = sealed("cardhost-guest", &config.image.guest)?;
        Ok(Self { vmm, guest, config })
    }

    /// Starts the process and waits until it is ready. What it says of the layers between cards and host comes with it.
    pub(super) async fn start(&self) -> Result<(Process, Vec<Layer>), LauncherError> {
        let mut process = self.spawn().map_err(|error| LauncherError::Spawn(error.into()))?;
        // The launcher reads from the offset that it shares with this descriptor.
        (&self.guest).rewind().map_err(|error| LauncherError::Spawn(error.into()))?;
        let hello = Request::Hello(Hello {
            version: VERSION,
            host_key: self.config.host_key.to_string_lossy().into_owned(),
            custody: self.config.custody.clone(),
            measurement: self.config.image.guest_sha256,
            card_users: self.config.card_users,
            isolation: self.config.isolation,
            control_group: self.config.control_group.as_ref().map(|path| path.to_string_lossy().into_owned()),
            cpu_budget_ms: self.config.cpu_budget_ms,
            warm_pool: self.config.warm_pool,
        });
        process.hello(&hello, self.guest.as_fd()).await?;
        match time::timeout(READY_TIMEOUT, process.receive()).await {
            Ok(Ok((Reply::Ready { isolation, layers }, _))) if isolation == self.config.isolation => {
                Ok((process, layers))
            }
            Ok(Ok((Reply::Unusable(why), _))) => Err(LauncherError::Unusable(bounded(why))),
            Ok(Ok(_)) => Err(LauncherError::Protocol),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(LauncherError::Died),
        }
    }

    fn spawn(&self) -> io::Result<Process> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        let flags = nix::fcntl::OFlag::O_NONBLOCK;
        fcntl(&ours, FcntlArg::F_SETFL(flags))?;
        // The child resolves the path before close-on-exec takes the descriptor away.
        let child = Command::new(format!("/proc/self/fd/{}", self.vmm.as_raw_fd()))
            .arg0("cardhost-vmm")
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let socket = UnixDatagram::from_std(ours.into())?;
        Ok(Process { socket, child })
    }
}

/// A running launcher; dropped, it is killed.
pub(super) struct Process {
    /// A `SOCK_SEQPACKET` socket; tokio has no type of its own for it and only polls it here.
    socket: UnixDatagram,
    child: Child,
}

impl Process {
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Closes the socket, which ends the launcher, and waits for it.
    pub(super) async fn end(self) -> Result<(), LauncherError> {
        let Self { socket, mut child } = self;
        drop(socket);
        match time::timeout(END_TIMEOUT, child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            _ => Err(LauncherError::Died),
        }
    }

    /// Sends the first message, with the guest image.
    async fn hello(&self, hello: &Request, guest: BorrowedFd<'_>) -> Result<(), LauncherError> {
        self.send_with(hello, &[ControlMessage::ScmRights(&[guest.as_raw_fd()])]).await
    }

    /// Sends a request.
    pub(super) async fn send(&self, request: &Request) -> Result<(), LauncherError> {
        self.send_with(request, &[]).await
    }

    async fn send_with(&self, request: &Request, rights: &[ControlMessage<'_>]) -> Result<(), LauncherError> {
        let message = request.encode();
        let send = || {
            let iov = [IoSlice::new(&message)];
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            Ok(sendmsg::<()>(self.socket.as_raw_fd(), &iov, rights, flags, None)?)
        };
        let sent = self.socket.async_io(tokio::io::Interest::WRITABLE, send).await;
        sent.map(drop).map_err(|_| LauncherError::Died)
    }

    /// The next reply, and the descriptor that came with it. Cancelling loses none.
    pub(super) async fn receive(&mut self) -> Result<(Reply, Option<OwnedFd>), LauncherError> {
        let mut message = vec![0; MAX_MESSAGE];
        let receive = || self.received(&mut message);
        let received = self.socket.async_io(tokio::io::Interest::READABLE, receive).await;
        let (length, descriptor) = received.map_err(|_| LauncherError::Died)?;
        let message = message.get(..length).filter(|message| !message.is_empty());
        let reply =
            Reply::decode(message.ok_or(LauncherError::Died)?).map_err(|_| LauncherError::Protocol)?;
        Ok((reply, descriptor))
    }

    /// By rustix, which hands descriptors over as owners; of more than one the others are closed.
    fn received(&self, message: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let (mut slices, flags) = ([IoSliceMut::new(message)], RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC);
        let length = recvmsg(&self.socket, &mut slices, &mut control, flags)?.bytes;
        let rights = control.drain().filter_map(|part| match part {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        Ok((length, rights.flatten().next()))
    }
}

fn sealed(name: &str, content: &[u8]) -> io::Result<File> {
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let mut file = File::from(fd);
    file.write_all(content)?;
    let seals =
        SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file)
}

/// What the launcher says for people, no longer than a line or two.
fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(500));
    text
}
