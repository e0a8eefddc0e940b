//! All streams of the device: one for each port of the card at most.
//!
//! A stream is named by its port and its serial number, so that an answer never reaches a later stream of the
//! same port. What arrives while the card is busy waits in its stream's buffer, [`MOST_BUFFERED`] bytes in all.

use alloc::vec::Vec;
use core::cell::RefCell;

use cardhost_wire::{
    frame::{MAX_MESSAGE, framed},
    port::Port,
};

use crate::{
    connection::{BUFFER, Connection, Violation},
    packet::{Header, Operation},
    queue::{self, MAX_PAYLOAD, Receiver, Transmitter},
    single::Single,
};

const PORTS: usize = Port::ALL.len();
/// Most bytes that all streams may have waiting; the stream that would pass it is reset.
pub const MOST_BUFFERED: u32 = 3 * BUFFER;

static STREAMS: Single<RefCell<Option<Streams>>> = Single::new(RefCell::new(None));

/// One stream of one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The card's port.
    pub port: Port,
    serial: u32,
}

/// What happened on a port.
pub enum Event {
    /// Its stream opened or closed: session state of this port is over.
    Reset(Port),
    /// A message arrived.
    Message(Stream, Vec<u8>),
}

/// The stream is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

/// Initialises the device.
pub(crate) fn set_up(mmio_base: u64) {
    let (receiver, transmitter) = queue::set_up(mmio_base);
    let slots = [const { Slot { connection: None, reset: false } }; PORTS];
    *STREAMS.borrow_mut() = Some(Streams { receiver, transmitter, slots, opened: 0, next: 0 });
}

/// Runs `act` on the streams. Not to be nested.
pub fn with<T>(act: impl FnOnce(&mut Streams) -> T) -> T {
    act(STREAMS.borrow_mut().as_mut().expect("set up at entry"))
}

/// Sends a last message on the control stream if the driver is in a state to do so.
pub(crate) fn last_words(message: &[u8]) {
    let Ok(mut streams) = STREAMS.try_borrow_mut() else { return };
    let Some(streams) = streams.as_mut() else { return };
    if let Some(control) = streams.stream(Port::Control)
        && streams.slot(Port::Control).room() > message.len()
        && streams.send(control, message).is_ok()
    {
        streams.transmitter.flush();
    }
}

/// The device and its streams.
pub struct Streams {
    receiver: Receiver,
    transmitter: Transmitter,
    slots: [Slot; PORTS],
    opened: u32,
    /// The port that is looked at first, so that none starves.
    next: usize,
}

struct Slot {
    connection: Option<(u32, Connection)>,
    reset: bool,
}

impl Streams {
    /// The next event; waits for the host if there is none.
    pub fn next_event(&mut self) -> Event {
        loop {
            self.receive();
            if let Some(event) = self.ready_event() {
                return event;
            }
            self.wait();
        }
    }

    /// The next message of this stream; waits for it, while others fill their buffers.
    pub fn next_message(&mut self, stream: Stream) -> Result<Vec<u8>, Closed> {
        loop {
            self.receive();
            if let Some(message) = self.take_message(stream)? {
                return Ok(message);
            }
            self.wait();
        }
    }

    /// Sends one message, [`MAX_MESSAGE`] at most; waits where the host has no room for it.
    pub fn send(&mut self, stream: Stream, message: &[u8]) -> Result<(), Closed> {
        assert!(message.len() <= MAX_MESSAGE, "the card answers within the limit");
        let bytes = framed(message);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let room = self.connection(stream)?.room().min(MAX_PAYLOAD).min(rest.len());
            if room == 0 {
                self.wait();
                self.receive();
                continue;
            }
            let (chunk, later) = rest.split_at(room);
            let header = self.connection(stream)?.header(Operation::RW, chunk.len());
            self.transmitter.send(header, chunk);
            rest = later;
        }
        Ok(())
    }

    /// Ends a stream that broke the rules.
    pub fn close(&mut self, stream: Stream) {
        if self.connection(stream).is_ok() {
            self.slots[index(stream.port)].end(&mut self.transmitter);
        }
    }

    /// The stream that is open on this port.
    pub fn stream(&self, port: Port) -> Option<Stream> {
        self.slot(port).connection.as_ref().map(|(serial, _)| Stream { port, serial: *serial })
    }

    fn ready_event(&mut self) -> Option<Event> {
        for at in (self.next..PORTS).chain(0..self.next) {
            let port = Port::ALL[at];
            if core::mem::take(&mut self.slots[at].reset) {
                return Some(Event::Reset(port));
            }
            let Some(stream) = self.stream(port) else { continue };
            if let Ok(Some(message)) = self.take_message(stream) {
                self.next = (at + 1) % PORTS;
                return Some(Event::Message(stream, message));
            }
        }
        None
    }

    fn take_message(&mut self, stream: Stream) -> Result<Option<Vec<u8>>, Closed> {
        let connection = self.connection(stream)?;
        match connection.next_message() {
            Ok(message) => Ok(message),
            Err(Violation) => {
                self.close(stream);
                Err(Closed)
            }
        }
    }

    /// Tells the host of room it does not know of, then waits for it.
    fn wait(&mut self) {
        for (_, connection) in self.slots.iter_mut().filter_map(|slot| slot.connection.as_mut()) {
            if connection.owes_credit() {
                self.transmitter.send(connection.header(Operation::CREDIT_UPDATE, 0), &[]);
            }
        }
        self.transmitter.wait();
    }

    fn receive(&mut self) {
        let Self { receiver, transmitter, slots, opened, .. } = self;
        receiver.drain(|header, payload| {
            let Some(port) = Port::from_number(header.port) else { return refuse(transmitter, header) };
            if header.operation == Operation::REQUEST {
                return accept(transmitter, &mut slots[index(port)], opened, header);
            }
            let others = slots.iter().map(Slot::buffered).sum::<u32>();
            let room = MOST_BUFFERED.saturating_sub(others) as usize;
            slots[index(port)].take(transmitter, header, payload, room);
        });
    }

    fn connection(&mut self, stream: Stream) -> Result<&mut Connection, Closed> {
        match &mut self.slots[index(stream.port)].connection {
            Some((serial, connection)) if *serial == stream.serial => Ok(connection),
            _ => Err(Closed),
        }
    }

    const fn slot(&self, port: Port) -> &Slot {
        &self.slots[index(port)]
    }
}

impl Slot {
    fn buffered(&self) -> u32 {
        self.connection.as_ref().map_or(0, |(_, connection)| connection.buffered())
    }

    fn room(&self) -> usize {
        self.connection.as_ref().map_or(0, |(_, connection)| connection.room())
    }

    /// A packet of this port's stream; one of no stream is answered by a reset.
    fn take(&mut self, transmitter: &mut Transmitter, header: &Header, payload: &[u8], room: usize) {
        let Some((_, connection)) = &mut self.connection else { return refuse(transmitter, header) };
        if connection.peer_port() != header.peer_port {
            return refuse(transmitter, header);
        }
        connection.note_credit(header);
        match header.operation {
            Operation::CREDIT_UPDATE => {}
            Operation::CREDIT_REQUEST => {
                transmitter.send(connection.header(Operation::CREDIT_UPDATE, 0), &[]);
            }
            Operation::RW if payload.len() <= room && connection.receive(payload).is_ok() => {}
            Operation::RST => self.forget(),
            _ => self.end(transmitter),
        }
    }

    /// Ends the stream and says so.
    fn end(&mut self, transmitter: &mut Transmitter) {
        if let Some((_, connection)) = &mut self.connection {
            transmitter.send(connection.header(Operation::RST, 0), &[]);
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.reset |= self.connection.take().is_some();
    }
}

fn accept(transmitter: &mut Transmitter, slot: &mut Slot, opened: &mut u32, request: &Header) {
    if slot.connection.is_some() {
        return refuse(transmitter, request);
    }
    let mut connection = Connection::accept(request);
    transmitter.send(connection.header(Operation::RESPONSE, 0), &[]);
    *opened = opened.wrapping_add(1);
    *slot = Slot { connection: Some((*opened, connection)), reset: true };
}

fn refuse(transmitter: &mut Transmitter, header: &Header) {
    if header.operation != Operation::RST {
        let refusal = Header { length: 0, operation: Operation::RST, buffer: 0, taken: 0, ..*header };
        transmitter.send(refusal, &[]);
    }
}

/// A port's place in [`Port::ALL`].
const fn index(port: Port) -> usize {
    match port {
        Port::Control => 0,
        Port::Apdu(protocol) => 1 + protocol as usize,
    }
}
