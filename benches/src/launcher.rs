//! The microVM program as the daemon runs it: one launcher, one process and one link for each card.

use std::{
    fs::File,
    io::{IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result, bail, ensure};
use cardhost_wire::{
    custody::Custody,
    frame::{FrameReader, framed},
    launch::{self, Hello, Isolation, Reply, Request, Start, UserIds},
    link::{self, Header, Kind},
    port::Port,
};
use nix::sys::{
    memfd::{MFdFlags, memfd_create},
    socket::{AddressFamily, SockFlag, SockType, socketpair},
};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tempfile::TempDir;

use crate::card::Streams;

/// CPU time for one exchange: RSA key generation with bad luck, on a busy machine.
const CPU_BUDGET_MS: u32 = 10_000;

/// A running launcher; its cards end with it.
#[derive(Clone)]
pub struct Launcher(Arc<Process>);

struct Process {
    socket: OwnedFd,
    child: Child,
    started: AtomicU64,
    /// Ends that nobody has waited for yet.
    ended: AtomicU64,
    host_key: TempDir,
}

impl Launcher {
    /// Starts the program that is embedded in this one, on the guest that is; cards have control groups below `parent` if
    /// one is given. So many processes wait for their card.
    pub fn start(parent: Option<&str>, warm_pool: u16) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let (socket, child) = spawn()?;
        let (started, ended) = Default::default();
        let launcher = Self(Arc::new(Process { socket, child, started, ended, host_key: directory }));
        let guest = in_memory("cardhost-guest", cardhost_image::GUEST)?;
        let hello = Request::Hello(Hello {
            version: launch::VERSION,
            host_key: launcher.0.host_key.path().join("host.key").to_string_lossy().into_owned(),
            custody: Custody::File,
            measurement: cardhost_image::GUEST_SHA256,
            card_users: UserIds::DEFAULT,
            isolation: Isolation::MicroVm,
            control_group: parent.map(str::to_owned),
            cpu_budget_ms: CPU_BUDGET_MS,
            warm_pool,
        });
        launcher.send(&hello, &[guest.as_fd()])?;
        match launcher.receive()?.0 {
            Reply::Ready { .. } => Ok(launcher),
            other => bail!("the launcher says {other:?}"),
        }
    }

    /// A new card's link; its process has its launch.
    pub fn card(&self) -> Result<Link> {
        let start = Start {
            instance: self.0.started.fetch_add(1, Ordering::Relaxed) + 1,
            card: [7; 16],
            owner: [8; 32],
            wrapped_key: None,
            image: [0; 32],
            adopt: false,
            default_keys: false,
        };
        self.send(&Request::Start(start), &[])?;
        loop {
            match self.receive()? {
                (Reply::Started { .. }, Some(socket)) => return Ok(Link::new(socket.into())),
                (Reply::Exited { .. }, _) => drop(self.0.ended.fetch_add(1, Ordering::Relaxed)),
                (other, _) => bail!("the launcher says {other:?}"),
            }
        }
    }

    /// Waits until a card's process has ended, after its link was dropped.
    pub fn wait_ended(&self) -> Result<()> {
        if self.0.ended.try_update(Ordering::Relaxed, Ordering::Relaxed, |ended| ended.checked_sub(1)).is_ok()
        {
            return Ok(());
        }
        match self.receive()? {
            (Reply::Exited { .. }, _) => Ok(()),
            (other, _) => bail!("the launcher says {other:?}"),
        }
    }

    fn send(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            ensure!(control.push(SendAncillaryMessage::ScmRights(descriptors)), "room for one descriptor");
        }
        sendmsg(&self.0.socket, &[IoSlice::new(&request.encode())], &mut control, SendFlags::empty())?;
        Ok(())
    }

    fn receive(&self) -> Result<(Reply, Option<OwnedFd>)> {
        let mut message = vec![0; launch::MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let slices = &mut [IoSliceMut::new(&mut message)];
        let length = recvmsg(&self.0.socket, slices, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
        let rights = control.drain().filter_map(|part| match part {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        let descriptor = rights.flatten().next();
        Ok((Reply::decode(&message[..length]).context("the launcher's reply")?, descriptor))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is collected.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn() -> Result<(OwnedFd, Child)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    let program = in_memory("cardhost-vmm", cardhost_image::VMM)?;
    let child = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
        .arg0("cardhost-vmm")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .spawn()?;
    Ok((ours, child))
}

fn in_memory(name: &str, content: &[u8]) -> Result<File> {
    let mut file = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?);
    file.write_all(content)?;
    Ok(file)
}

/// The daemon's end of a card's link.
pub struct Link {
    socket: UnixStream,
    buffer: Vec<u8>,
    readers: [FrameReader; Port::ALL.len()],
}

impl Link {
    fn new(socket: UnixStream) -> Self {
        Self { socket, buffer: Vec::new(), readers: Default::default() }
    }

    fn frame(&mut self) -> Result<(Header, Vec<u8>)> {
        loop {
            if let Some(header) = self.buffer.first_chunk() {
                let header = Header::parse(header)?;
                let end = link::HEADER + header.length;
                if self.buffer.len() >= end {
                    let payload = self.buffer[link::HEADER..end].to_vec();
                    self.buffer.drain(..end);
                    return Ok((header, payload));
                }
            }
            let mut chunk = [0; 4096];
            match self.socket.read(&mut chunk)? {
                0 => bail!("the card's process has ended"),
                length => self.buffer.extend_from_slice(&chunk[..length]),
            }
        }
    }

    fn buffered(&mut self) -> Result<Option<(Port, Vec<u8>)>> {
        for (port, reader) in Port::ALL.into_iter().zip(&mut self.readers) {
            if let Some(message) = reader.next_message()? {
                return Ok(Some((port, message)));
            }
        }
        Ok(None)
    }
}

impl Streams for Link {
    fn begin(&mut self, start: &[u8], port: Port) -> Result<()> {
        let open = |port: Port| link::frame(Kind::Open, port.number(), &[]);
        self.socket.write_all(&[open(Port::Control), open(port)].concat())?;
        self.send(Port::Control, start)
    }

    fn send(&mut self, port: Port, message: &[u8]) -> Result<()> {
        Ok(self.socket.write_all(&link::frame(Kind::Data, port.number(), &framed(message)))?)
    }

    fn receive(&mut self) -> Result<(Port, Vec<u8>)> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(message);
            }
            let (header, payload) = self.frame()?;
            let port = Port::ALL.into_iter().position(|port| port.number() == header.port);
            match (header.kind, port) {
                (Kind::Data, Some(at)) => self.readers[at].push(&payload),
                (Kind::Opened, Some(_)) => {}
                (Kind::Report, _) => bail!("the card reports {:?}", link::Report::decode(&payload)),
                _ => bail!("unexpected {header:?}"),
            }
        }
    }
}
