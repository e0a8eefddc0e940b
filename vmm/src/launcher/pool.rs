//! The warm pool: cards' processes that are made ahead of the starts that take them.
//!
//! ```text
//!          fork, sandbox, filter, guest idle                 launch, in its link
//! nothing ──────────────────────────────────▶ waiting ──────────────────────────▶ a card's
//! ```
//!
//! A waiting process is a copy of the template that has been told nothing. With the launch it gets seed, identity and key;
//! the launcher writes it into the link before the daemon has the link's other end.

use std::{
    collections::VecDeque,
    os::{fd::AsRawFd, unix::net::UnixStream},
};

use cardhost_wire::{
    control::HostMessage,
    frame::framed,
    launch::{Refusal, Start},
    link::{self, Kind},
    port::Port,
};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, send},
    unistd::Pid,
};
use zeroize::{Zeroize, Zeroizing};

use super::{Launcher, spawn};

/// A process that has had no launch yet.
pub struct Process {
    /// The process.
    pub pid: Pid,
    /// The daemon's end of its link.
    pub link: UnixStream,
}

/// The processes that wait.
pub struct Pool {
    size: usize,
    waiting: VecDeque<Process>,
    /// Processes that the launcher has forked so far.
    forked: u64,
    /// One that waited has ended, which would happen to the next as well: none is made before the next start.
    paused: bool,
}

impl Pool {
    /// An empty pool that is to hold `size`.
    pub fn new(size: u16) -> Self {
        Self { size: size.into(), waiting: VecDeque::new(), forked: 0, paused: false }
    }

    /// True if another process is to be made when there is time.
    pub fn is_short(&self) -> bool {
        self.waiting.len() < self.size && !self.paused
    }

    /// Lets a process wait that was taken for nothing. Without a pool its link closes, which ends it.
    fn put_back(&mut self, process: Process) {
        if self.size > 0 {
            self.waiting.push_front(process);
        }
    }

    /// A process that waited has ended.
    pub fn ended(&mut self, pid: Pid) {
        self.waiting.retain(|process| process.pid != pid);
        self.paused = true;
    }
}

impl Launcher {
    /// Gives a card's launch to a process that waits, or else to a new one; answers the process and the card's wrapped key.
    ///
    /// The process comes first, for a fork copies what secrets there are.
    pub(super) fn begin(&mut self, start: &Start) -> Result<(Process, Vec<u8>), Refusal> {
        self.pool.paused = false;
        loop {
            let (process, is_new) = match self.pool.waiting.pop_front() {
                Some(process) => (process, false),
                None => (self.fork()?, true),
            };
            let (mut launch, wrapped_key) = match self.launch(start) {
                Ok(launch) => launch,
                Err(reason) => {
                    self.pool.put_back(process);
                    return Err(reason);
                }
            };
            match process.tell(&mut launch) {
                Ok(()) => return Ok((process, wrapped_key)),
                Err(error) if is_new => return Err(Refusal::Resources(format!("launch: {error}"))),
                // It ended a moment ago.
                Err(_) => {}
            }
        }
    }

    /// Makes one more process that waits. Without it the next start takes longer, and says then what is wrong.
    pub(super) fn refill(&mut self) {
        match self.fork() {
            Ok(process) => self.pool.waiting.push_back(process),
            Err(_) => self.pool.paused = true,
        }
    }

    fn fork(&mut self) -> Result<Process, Refusal> {
        self.pool.forked += 1;
        let number = self.pool.forked;
        let group = self.groups.as_mut().map(|groups| groups.make(number)).transpose();
        let group = group.map_err(|error| Refusal::Resources(format!("control group: {error}")))?;
        match spawn::spawn(self, number, group.as_ref()) {
            Ok(process) => {
                self.processes.insert(process.pid, super::Child { number, instance: None });
                Ok(process)
            }
            Err(error) => {
                self.end_group(number);
                Err(Refusal::Resources(format!("fork: {error}")))
            }
        }
    }
}

impl Process {
    /// Writes the launch, which the guest's control stream is to have first of all. Its secrets are erased where they were.
    fn tell(&self, launch: &mut HostMessage) -> Result<(), Errno> {
        let message = Zeroizing::new(launch.encode());
        if let HostMessage::Launch(contents) = launch {
            contents.zeroize();
        }
        let framed = Zeroizing::new(framed(&message));
        let frame = Zeroizing::new(link::frame(Kind::Data, Port::Control.number(), &framed));
        // Far less than an empty socket takes.
        send(self.link.as_raw_fd(), &frame, MsgFlags::MSG_NOSIGNAL).map(drop)
    }
}
