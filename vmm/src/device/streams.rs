//! Vsock streams, one per port of the card at most (VIRTIO 1.3, 5.10.6).
//!
//! ```text
//!            open                RESPONSE
//! Closed ──REQUEST──▶ Requested ─────────▶ Open
//!   ▲                     │                  │
//!   └──── RST, close ─────┴─ RST, SHUTDOWN, close
//! ```
//!
//! Only the host opens streams. Each opening has a host port of its own, so that a late packet of an earlier
//! stream never reaches a later one. Data for the guest waits here until the guest has credit for it (5.10.6.3):
//! `sent - fwd_cnt < buf_alloc`. Data from the guest is passed on at once; the guest hears of its new credit with
//! each packet, and by a packet of its own when it could take half of it for used up.

use std::collections::VecDeque;

use cardhost_wire::port::Port;
use zeroize::Zeroizing;

use super::{
    Violation,
    packet::{Header, Operation},
    queues::Packet,
};

/// The host's buffer as the guest sees it, bytes.
const HOST_BUFFER: u32 = 256 * 1024;
/// Data that one stream may have waiting for the guest.
pub const MAX_WAITING: usize = 160 * 1024;
/// Answers waiting to be sent; a driver that works never needs as many.
const MAX_ANSWERS: usize = 32;
const FIRST_HOST_PORT: u32 = 0x1_0000;

/// What the daemon is to be told.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The guest accepted the stream.
    Opened(Port),
    /// Bytes of the stream.
    Data(Port, Vec<u8>),
    /// The stream ended, or the guest refused it.
    Closed(Port),
}

/// All streams of a card.
#[derive(Clone)]
pub struct Streams {
    slots: [Stream; Port::ALL.len()],
    answers: VecDeque<Header>,
    next_host_port: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Requested,
    Open,
}

#[derive(Clone)]
struct Stream {
    port: Port,
    state: State,
    host_port: u32,
    /// The daemon waits for [`Event::Opened`].
    announce: bool,
    waiting: Waiting,
    /// Bytes given to the guest, modulo 2^32.
    sent: u32,
    /// Bytes taken from the guest, modulo 2^32, and what the guest was last told of it.
    received: u32,
    told: u32,
    peer_buffer: u32,
    peer_consumed: u32,
    asked_for_credit: bool,
}

/// Bytes on their way to the guest, erased once given.
#[derive(Clone, Default)]
struct Waiting {
    bytes: Zeroizing<Vec<u8>>,
    given: usize,
}

impl Waiting {
    fn push(&mut self, bytes: &[u8]) {
        let mut all = Zeroizing::new(Vec::with_capacity(self.rest().len() + bytes.len()));
        all.extend_from_slice(self.rest());
        all.extend_from_slice(bytes);
        *self = Self { bytes: all, given: 0 };
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.given..]
    }

    fn take(&mut self, length: usize) -> Zeroizing<Vec<u8>> {
        let taken = Zeroizing::new(self.rest()[..length].to_vec());
        self.given += length;
        if self.rest().is_empty() {
            *self = Self::default();
        }
        taken
    }
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            slots: Port::ALL.map(Stream::closed),
            answers: VecDeque::new(),
            next_host_port: FIRST_HOST_PORT,
        }
    }
}

impl Streams {
    /// Opens the port's stream; an open one stays. With `announce` the daemon is told when it is open.
    pub fn open(&mut self, port: Port, announce: bool) -> Option<Event> {
        let host_port = self.next_host_port;
        let stream = self.slot(port);
        match stream.state {
            State::Open => return announce.then_some(Event::Opened(port)),
            State::Requested => stream.announce |= announce,
            State::Closed => {
                *stream = Stream { state: State::Requested, host_port, announce, ..Stream::closed(port) };
                let request = stream.header(Operation::REQUEST, 0);
                self.answers.push_back(request);
                self.next_host_port = host_port.wrapping_add(1).max(FIRST_HOST_PORT);
            }
        }
        None
    }

    /// Queues bytes for the guest. Of a closed stream they are dropped: the daemon hears of its end separately.
    ///
    /// # Errors
    /// The daemon sent more than [`MAX_WAITING`] ahead.
    pub fn data(&mut self, port: Port, bytes: &[u8]) -> Result<(), TooMuchData> {
        let stream = self.slot(port);
        if stream.state == State::Closed {
            return Ok(());
        }
        if stream.waiting.rest().len() + bytes.len() > MAX_WAITING {
            return Err(TooMuchData);
        }
        stream.waiting.push(bytes);
        Ok(())
    }

    /// Ends the port's stream.
    pub fn close(&mut self, port: Port) {
        let stream = self.slot(port);
        if stream.state != State::Closed {
            let end = stream.header(Operation::RST, 0);
            *stream = Stream::closed(port);
            self.answers.push_back(end);
        }
    }

    /// The guest has accepted the port's stream.
    pub fn is_open(&self, port: Port) -> bool {
        self.slots[index(port)].state == State::Open
    }

    /// Handles one packet from the guest.
    pub fn receive(&mut self, packet: Packet) -> Result<Option<Event>, Violation> {
        let Packet { header, payload } = packet;
        let known = Port::from_number(header.guest_port).filter(|port| {
            let stream = &self.slots[index(*port)];
            stream.state != State::Closed && stream.host_port == header.host_port
        });
        match known {
            Some(port) => self.receive_on(port, header, payload),
            None if header.operation == Operation::RST => Ok(None),
            None => self.answer(refusal(&header)).map(|()| None),
        }
    }

    /// The next packet for a receive buffer with this much room for data.
    pub fn next_packet(&mut self, room: usize) -> Option<(Header, Zeroizing<Vec<u8>>)> {
        if let Some(header) = self.answers.pop_front() {
            return Some((header, Zeroizing::default()));
        }
        self.slots.iter_mut().find_map(|stream| stream.next_packet(room))
    }

    /// Something is ready to be given to the guest.
    pub fn has_packet(&self) -> bool {
        !self.answers.is_empty() || self.slots.iter().any(Stream::has_packet)
    }

    fn receive_on(
        &mut self,
        port: Port,
        header: Header,
        payload: Vec<u8>,
    ) -> Result<Option<Event>, Violation> {
        let stream = self.slot(port);
        stream.learn_credit(&header)?;
        match (header.operation, stream.state) {
            (Operation::RESPONSE, State::Requested) => Ok(stream.accepted()),
            (Operation::RW, State::Open) => {
                let event = stream.take(payload);
                match stream.credit_update() {
                    Some(update) => self.answer(update).map(|()| event),
                    None => Ok(event),
                }
            }
            (Operation::CREDIT_UPDATE, _) => Ok(None),
            (Operation::CREDIT_REQUEST, State::Open) => {
                let update = stream.header(Operation::CREDIT_UPDATE, 0);
                self.answer(update).map(|()| None)
            }
            (Operation::SHUTDOWN, _) => {
                let end = stream.header(Operation::RST, 0);
                *stream = Stream::closed(port);
                self.answer(end).map(|()| Some(Event::Closed(port)))
            }
            (Operation::RST, _) => {
                *stream = Stream::closed(port);
                Ok(Some(Event::Closed(port)))
            }
            _ => Err(Violation::Packet),
        }
    }

    fn answer(&mut self, header: Header) -> Result<(), Violation> {
        if self.answers.len() >= MAX_ANSWERS {
            return Err(Violation::Flood);
        }
        self.answers.push_back(header);
        Ok(())
    }

    fn slot(&mut self, port: Port) -> &mut Stream {
        &mut self.slots[index(port)]
    }
}

/// The daemon sent more than the link's contract allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the daemon sent more than a stream may have waiting")]
pub struct TooMuchData;

impl Stream {
    fn closed(port: Port) -> Self {
        Self {
            port,
            state: State::Closed,
            host_port: 0,
            announce: false,
            waiting: Waiting::default(),
            sent: 0,
            received: 0,
            told: 0,
            peer_buffer: 0,
            peer_consumed: 0,
            asked_for_credit: false,
        }
    }

    fn header(&mut self, operation: Operation, length: u32) -> Header {
        self.told = self.received;
        Header {
            host_port: self.host_port,
            guest_port: self.port.number(),
            length,
            operation,
            buf_alloc: HOST_BUFFER,
            fwd_cnt: self.received,
        }
    }

    /// The guest can have consumed no more than it was sent, and never less than before.
    fn learn_credit(&mut self, header: &Header) -> Result<(), Violation> {
        let outstanding = self.sent.wrapping_sub(self.peer_consumed);
        let consumed = header.fwd_cnt.wrapping_sub(self.peer_consumed);
        if consumed > outstanding {
            return Err(Violation::Credit);
        }
        self.peer_buffer = header.buf_alloc;
        self.peer_consumed = header.fwd_cnt;
        self.asked_for_credit = false;
        Ok(())
    }

    fn credit(&self) -> usize {
        let outstanding = self.sent.wrapping_sub(self.peer_consumed);
        self.peer_buffer.saturating_sub(outstanding) as usize
    }

    fn accepted(&mut self) -> Option<Event> {
        self.state = State::Open;
        self.announce.then_some(Event::Opened(self.port))
    }

    fn take(&mut self, payload: Vec<u8>) -> Option<Event> {
        self.received = self.received.wrapping_add(payload.len() as u32);
        (!payload.is_empty()).then_some(Event::Data(self.port, payload))
    }

    fn credit_update(&mut self) -> Option<Header> {
        let untold = self.received.wrapping_sub(self.told);
        (untold > HOST_BUFFER / 2).then(|| self.header(Operation::CREDIT_UPDATE, 0))
    }

    fn has_packet(&self) -> bool {
        let waits = self.state == State::Open && !self.waiting.rest().is_empty();
        waits && (self.credit() > 0 || !self.asked_for_credit)
    }

    fn next_packet(&mut self, room: usize) -> Option<(Header, Zeroizing<Vec<u8>>)> {
        if !self.has_packet() {
            return None;
        }
        let length = self.waiting.rest().len().min(self.credit()).min(room);
        if length == 0 {
            self.asked_for_credit = true;
            return Some((self.header(Operation::CREDIT_REQUEST, 0), Zeroizing::default()));
        }
        let payload = self.waiting.take(length);
        self.sent = self.sent.wrapping_add(length as u32);
        Some((self.header(Operation::RW, length as u32), payload))
    }
}

fn index(port: Port) -> usize {
    Port::ALL.iter().position(|other| *other == port).expect("every port is listed")
}

fn refusal(header: &Header) -> Header {
    Header { length: 0, operation: Operation::RST, buf_alloc: 0, fwd_cnt: 0, ..*header }
}

#[cfg(test)]
mod tests;
