//! The microVM program as the daemon runs it: one launcher, one process and one link for each card.

use std::{
    fs::File,
    io::{IoSlice, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result, bail};
use cardhost_wire::{
    custody::Custody,
    frame::{FrameReader, framed},
    launch::{self, Hello, Isolation, Reply, Request, Start, UserIds},
    link::{self, Header, Kind},
    port::Port,
};
use nix::sys::{
    memfd::{MFdFlags, memfd_create},
    socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, sendmsg, socketpair},
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
    host_key: TempDir,
}

impl Launcher {
    /// Starts the program that is embedded in this one, on the guest that is; cards have control groups below `parent` if
    /// one is given.
    pub fn start(parent: Option<&str>) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let (socket, child) = spawn()?;
        let started = AtomicU64::new(0);
        let launcher = Self(Arc::new(Process { socket, child, started, host_key: directory }));
        let guest = in_memory("cardhost-guest", cardhost_image::GUEST)?;
        let hello = Request::Hello(Hello {
            version: launch::VERSION,
            host_key: launcher.0.host_key.path().join("host.key").to_string_lossy().into_owned(),
            custody: Custody::File,
            measurement: cardhost_image::GUEST_SHA256,
            card_users: UserIds::DEFAULT,
            isolation: Isolation::MicroVm,
            control_group: parent.map(str::to_owned),
        });
        launcher.send(&hello, guest.as_raw_fd())?;
        match launcher.receive()? {
            Reply::Ready { .. } => Ok(launcher),
            other => bail!("the launcher says {other:?}"),
        }
    }

    /// A new card's link; its process is launched when the link begins, with all that it is told first on the way.
    pub fn card(&self) -> Result<Link> {
        let (ours, theirs) = UnixStream::pair()?;
        let theirs = Some(theirs);
        Ok(Link {
            launcher: self.clone(),
            socket: ours,
            theirs,
            buffer: Vec::new(),
            readers: Default::default(),
        })
    }

    fn start_process(&self, link: &UnixStream) -> Result<()> {
        let start = Start {
            instance: self.0.started.fetch_add(1, Ordering::Relaxed) + 1,
            card: [7; 16],
            owner: [8; 32],
            wrapped_key: None,
            image: [0; 32],
            adopt: false,
            cpu_budget_ms: CPU_BUDGET_MS,
            default_keys: false,
        };
        self.send(&Request::Start(start), link.as_raw_fd())
    }

    /// Takes the launcher's word that a card was started, of which it has room for some hundred only.
    pub fn take_started(&self) -> Result<()> {
        match self.receive()? {
            Reply::Started { .. } => Ok(()),
            other => bail!("the launcher says {other:?}"),
        }
    }

    /// Waits until a card's process has ended, after its link was dropped.
    pub fn wait_ended(&self) -> Result<()> {
        loop {
            match self.receive()? {
                Reply::Exited { .. } => return Ok(()),
                Reply::Started { .. } => {}
                other => bail!("the launcher says {other:?}"),
            }
        }
    }

    fn send(&self, request: &Request, descriptor: i32) -> Result<()> {
        let descriptors = [descriptor];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let message = request.encode();
        sendmsg::<()>(
            self.0.socket.as_raw_fd(),
            &[IoSlice::new(&message)],
            &rights,
            MsgFlags::empty(),
            None,
        )?;
        Ok(())
    }

    fn receive(&self) -> Result<Reply> {
        let mut message = vec![0; launch::MAX_MESSAGE];
        let length = recv(self.0.socket.as_raw_fd(), &mut message, MsgFlags::empty())?;
        Reply::decode(&message[..length]).context("the launcher's reply")
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

/// A card's link.
pub struct Link {
    launcher: Launcher,
    socket: UnixStream,
    /// The other end, until the process is launched.
    theirs: Option<UnixStream>,
    buffer: Vec<u8>,
    readers: [FrameReader; Port::ALL.len()],
}

impl Link {
    fn launch(&mut self) -> Result<()> {
        let theirs = self.theirs.take().context("a link begins once")?;
        self.launcher.start_process(&theirs)
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
        self.send(Port::Control, start)?;
        self.launch()
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
