//! The process of one card, from the fork to its end.
//!
//! ```text
//! set up ─▶ sandbox ─▶ seccomp ─▶ ┌─▶ machine ─▶ one match over the exit ─┐
//!                                 │                                       │ doorbell
//!                                 └── give packets ◀── link ◀── drain ◀───┘
//! ```
//!
//! In steady state one exchange is: one exit (the doorbell), one write to the link, one read from it.

mod capabilities;
pub mod crash;
pub mod link;
pub mod machine;
pub mod memory;
pub mod priority;
pub mod sandbox;
pub mod scratch;
pub mod seccomp;
pub mod statistics;
pub mod template;
pub mod watchdog;
pub mod working_set;

use cardhost_wire::{
    boot::{MMIO_BASE, MMIO_SIZE, RX_QUEUE},
    link::{Crash, CrashCause, Header, Kind, Report},
    port::Port,
};
use zeroize::Zeroizing;

use crate::{
    device::{
        Violation, queues,
        streams::{Event, Streams, TooMuchData},
        transport::{Effect, Transport},
    },
    image::Symbols,
};
use link::{Link, LinkError};
use machine::{Exit, Machine};
use priority::Priority;
use statistics::Meter;
use watchdog::{Finding, Watchdog};

/// Why a card's process ends.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// The daemon closed the link: the usual end.
    #[error("the card was switched off")]
    SwitchedOff,
    /// The daemon broke the link's contract.
    #[error("the daemon misused the link")]
    Daemon(#[source] LinkError),
    /// The daemon sent too much ahead.
    #[error(transparent)]
    TooMuchData(#[from] TooMuchData),
    /// The guest is dead.
    #[error("{}", crash::describe(.0))]
    Crashed(Crash),
}

impl From<LinkError> for End {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Closed | LinkError::Socket(_) => Self::SwitchedOff,
            LinkError::Malformed(_) => Self::Daemon(error),
        }
    }
}

/// A running card.
pub struct Card<'a, M> {
    /// Declared first: dropped before the machine whose byte it writes to.
    watchdog: Watchdog,
    priority: Priority,
    machine: M,
    transport: Transport,
    streams: Streams,
    link: Link,
    meter: Meter,
    symbols: &'a Symbols,
    /// How often the machine stopped running the guest.
    exits: u64,
    /// Frames that the daemon sent for the guest.
    obeyed: u64,
}

/// What the run loop does after an exit.
enum Next {
    Enter,
    Wait,
}

impl<'a, M: Machine> Card<'a, M> {
    /// A card with machine, device and streams as they stand; `budget_ms` is its CPU time for one exchange.
    ///
    /// # Errors
    /// The system refuses the watchdog's timer, or has no `/proc`.
    pub fn new(
        mut machine: M,
        (transport, streams): (Transport, Streams),
        link: Link,
        symbols: &'a Symbols,
        budget_ms: u32,
    ) -> std::io::Result<Self> {
        let watchdog = Watchdog::start(&mut machine, budget_ms)?;
        let priority = Priority::new(machine.thread());
        let meter = machine.meter()?;
        Ok(Self {
            machine,
            transport,
            streams,
            link,
            watchdog,
            priority,
            meter,
            symbols,
            exits: 0,
            obeyed: 0,
        })
    }

    /// Runs the idle guest until the end, and tells the daemon if it was the guest's fault.
    pub fn run(&mut self) -> End {
        let end = match self.warm_up().and_then(|()| self.exchange()) {
            Ok(never) => match never {},
            Err(end) => end,
        };
        if let End::Crashed(crash) = &end {
            self.link.queue(Kind::Report, 0, &Report::Crashed(crash.clone()).encode());
            // The daemon may be gone as well; the log has the crash in any case.
            drop(self.link.flush());
        }
        end
    }

    /// With nothing in the link yet, runs the guest from one idle moment to the next, so that processor and page tables
    /// are there when its launch comes.
    fn warm_up(&mut self) -> Result<(), End> {
        self.link.fill_ahead()?;
        if self.link.is_empty() { self.run_to_idle() } else { Ok(()) }
    }

    fn exchange(&mut self) -> Result<std::convert::Infallible, End> {
        loop {
            self.wait()?;
            self.run_to_idle()?;
        }
    }

    /// Runs a fresh guest until its control stream is open and it has nothing left to do.
    fn run_to_idle_with_control_stream(&mut self) -> Result<(), End> {
        self.run_to_idle()?;
        self.streams.open(Port::Control, false);
        self.give()?;
        self.run_to_idle()?;
        if self.streams.is_open(Port::Control) {
            Ok(())
        } else {
            Err(self.unexpected("idle without a control stream".into()))
        }
    }

    /// Runs the guest until it has nothing left to do.
    fn run_to_idle(&mut self) -> Result<(), End> {
        while let Next::Enter = self.enter()? {}
        Ok(())
    }

    /// Runs the guest to its next exit.
    fn enter(&mut self) -> Result<Next, End> {
        self.exits += 1;
        match self.machine.run() {
            Exit::Write { address, value } => {
                let Some(offset) = register(address) else {
                    return Err(self.unexpected(format!("write to {address:#x}")));
                };
                let effect = self.transport.write(offset, value);
                self.after_write(effect)
            }
            Exit::Read { address } => {
                let value = register(address).map_or(0, |offset| self.transport.read(offset));
                self.machine.answer(value);
                Ok(Next::Enter)
            }
            Exit::Interrupted => self.interrupted(),
            Exit::Crashed(cause) => Err(self.crashed(cause)),
        }
    }

    fn after_write(&mut self, effect: Effect) -> Result<Next, End> {
        let Effect::Notify(queue) = effect else { return Ok(Next::Enter) };
        self.drain()?;
        self.link.flush()?;
        Ok(if queue == u32::from(RX_QUEUE) { Next::Wait } else { Next::Enter })
    }

    fn interrupted(&mut self) -> Result<Next, End> {
        match self.watchdog.interrupted(self.obeyed) {
            Finding::Brisk => return Ok(Next::Enter),
            Finding::Busy => {
                self.priority.lower();
                return Ok(Next::Enter);
            }
            Finding::Runaway => {}
        }
        let cause = CrashCause::Runaway { budget_ms: self.watchdog.budget_ms() };
        Err(self.crashed(cause))
    }

    fn unexpected(&mut self, what: String) -> End {
        self.crashed(CrashCause::UnexpectedExit(what))
    }

    fn violated(&mut self, violation: Violation) -> End {
        self.crashed(CrashCause::Protocol(violation.to_string()))
    }

    /// The end by this cause, at the guest's present instruction.
    fn crashed(&mut self, cause: CrashCause) -> End {
        End::Crashed(crash::at(self.machine.instruction_pointer(), self.symbols, cause))
    }

    /// Takes everything the guest has sent.
    fn drain(&mut self) -> Result<(), End> {
        loop {
            let taken =
                queues::take(&mut self.transport, self.machine.memory()).map_err(|bad| self.violated(bad))?;
            let Some(packet) = taken else { return Ok(()) };
            let event = self.streams.receive(packet).map_err(|bad| self.violated(bad))?;
            event.into_iter().for_each(|event| tell(&mut self.link, event));
        }
    }

    /// The guest is idle: blocks until it has been given something.
    fn wait(&mut self) -> Result<(), End> {
        self.priority.restore();
        loop {
            while let Some((header, payload)) = self.link.buffered()? {
                self.obey(header, payload)?;
            }
            self.link.flush()?;
            if self.give()? {
                return Ok(());
            }
            self.link.fill()?;
        }
    }

    /// Gives the guest what waits for it. True if there was anything.
    fn give(&mut self) -> Result<bool, End> {
        let mut any = false;
        while self.streams.has_packet() {
            let memory = self.machine.memory();
            let buffer =
                queues::receive_buffer(&mut self.transport, memory).map_err(|bad| self.violated(bad))?;
            let Some(buffer) = buffer else { break };
            let Some((header, payload)) = self.streams.next_packet(buffer.room) else { break };
            queues::give(&mut self.transport, self.machine.memory(), buffer, header, &payload)
                .map_err(|bad| self.violated(bad))?;
            any = true;
        }
        Ok(any)
    }

    /// Does what one frame of the daemon asks for.
    fn obey(&mut self, header: Header, payload: Zeroizing<Vec<u8>>) -> Result<(), End> {
        self.obeyed += 1;
        match (header.kind, Port::from_number(header.port)) {
            (Kind::Open, Some(port)) => {
                let event = self.streams.open(port, true);
                event.into_iter().for_each(|event| tell(&mut self.link, event));
            }
            (Kind::Data, Some(port)) => self.streams.data(port, &payload)?,
            (Kind::Close, Some(port)) => self.streams.close(port),
            (Kind::Query, _) => {
                let report = Report::Statistics(self.meter.read(self.exits));
                self.link.queue(Kind::Report, 0, &report.encode());
            }
            _ => self.link.queue(Kind::Close, header.port, &[]),
        }
        Ok(())
    }
}

fn tell(link: &mut Link, event: Event) {
    match event {
        Event::Opened(port) => link.queue(Kind::Opened, port.number(), &[]),
        Event::Data(port, bytes) => link.queue(Kind::Data, port.number(), &bytes),
        Event::Closed(port) => link.queue(Kind::Close, port.number(), &[]),
    }
}

/// The device register at a guest-physical address.
fn register(address: u64) -> Option<u64> {
    address.checked_sub(MMIO_BASE).filter(|offset| *offset < MMIO_SIZE && offset.is_multiple_of(4))
}
