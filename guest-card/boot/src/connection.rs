//! One stream between the host and a port of the card: messages in, credit both ways (VIRTIO 1.3, 5.10.6.3).
//!
//! Received bytes count against the card's buffer until the message that they belong to is taken, so that an
//! unread stream costs no more than one buffer, whatever the host sends.

use alloc::vec::Vec;

use cardhost_wire::frame::{FrameReader, MAX_MESSAGE, PREFIX};

use crate::packet::{Header, Operation};

/// The card's receive buffer for each stream: one longest message.
pub const BUFFER: u32 = (MAX_MESSAGE + PREFIX) as u32;

/// The host broke the stream's rules; the stream must be reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation;

/// An open stream.
pub struct Connection {
    port: u32,
    peer_port: u32,
    reader: FrameReader,
    /// Bytes received and bytes taken since the stream opened, and what the host was last told of the latter.
    received: u32,
    taken: u32,
    told: u32,
    /// Bytes sent, and the host's buffer and what it has taken of it.
    sent: u32,
    peer_buffer: u32,
    peer_taken: u32,
}

impl Connection {
    /// The stream that this request opens.
    pub fn accept(request: &Header) -> Self {
        Self {
            port: request.port,
            peer_port: request.peer_port,
            reader: FrameReader::new(),
            received: 0,
            taken: 0,
            told: 0,
            sent: 0,
            peer_buffer: request.buffer,
            peer_taken: 0,
        }
    }

    /// The host's port.
    pub const fn peer_port(&self) -> u32 {
        self.peer_port
    }

    /// Bytes received and not yet taken.
    pub const fn buffered(&self) -> u32 {
        self.received.wrapping_sub(self.taken)
    }

    /// Notes what every packet tells of the host's room.
    pub const fn note_credit(&mut self, header: &Header) {
        self.peer_buffer = header.buffer;
        self.peer_taken = header.taken;
    }

    /// Takes received bytes; more than the host was given room for are a violation.
    pub fn receive(&mut self, payload: &[u8]) -> Result<(), Violation> {
        let room = (BUFFER - self.buffered()) as usize;
        if payload.len() > room {
            return Err(Violation);
        }
        self.received = self.received.wrapping_add(payload.len() as u32);
        self.reader.push(payload);
        Ok(())
    }

    /// The next whole message, if it has arrived; one that is announced too long is a violation.
    pub fn next_message(&mut self) -> Result<Option<Vec<u8>>, Violation> {
        let message = self.reader.next_message().map_err(|_| Violation)?;
        if let Some(message) = &message {
            self.taken = self.taken.wrapping_add((PREFIX + message.len()) as u32);
        }
        Ok(message)
    }

    /// True if the host, as far as it knows, has less than half of the buffer left although there is more.
    pub const fn owes_credit(&self) -> bool {
        self.told != self.taken && self.received.wrapping_sub(self.told) > BUFFER / 2
    }

    /// Bytes that the host has room for now, whatever it claims.
    pub const fn room(&self) -> usize {
        self.peer_buffer.saturating_sub(self.sent.wrapping_sub(self.peer_taken)) as usize
    }

    /// The header of the next packet; it tells the host of the card's room.
    pub const fn header(&mut self, operation: Operation, length: usize) -> Header {
        self.told = self.taken;
        self.sent = self.sent.wrapping_add(length as u32);
        Header {
            port: self.port,
            peer_port: self.peer_port,
            length,
            operation,
            buffer: BUFFER,
            taken: self.taken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cardhost_wire::frame::{framed, prefix};

    fn open(buffer: u32) -> Connection {
        let operation = Operation::REQUEST;
        Connection::accept(&Header { port: 5000, peer_port: 9, length: 0, operation, buffer, taken: 0 })
    }

    #[test]
    fn bytes_count_until_their_message_is_taken() {
        let mut connection = open(0);
        connection.receive(&framed(&[1; 100])).unwrap();
        connection.receive(&framed(&[2; 50])[..10]).unwrap();
        assert_eq!(connection.buffered(), 114);
        assert_eq!(connection.next_message().unwrap(), Some(vec![1; 100]));
        assert_eq!(connection.next_message().unwrap(), None);
        assert_eq!(connection.buffered(), 10);
    }

    #[test]
    fn a_longest_message_fits_and_not_a_byte_more() {
        let mut connection = open(0);
        connection.receive(&framed(&vec![7; MAX_MESSAGE])).unwrap();
        assert_eq!(connection.receive(&[0]), Err(Violation));
        assert!(!connection.owes_credit());
        assert_eq!(connection.next_message().unwrap().unwrap().len(), MAX_MESSAGE);
        assert!(connection.owes_credit());
        assert_eq!(connection.header(Operation::CREDIT_UPDATE, 0).taken, BUFFER);
        assert!(!connection.owes_credit());
    }

    #[test]
    fn an_announced_giant_is_a_violation() {
        let mut connection = open(0);
        connection.receive(&prefix(MAX_MESSAGE + 1)).unwrap();
        assert_eq!(connection.next_message(), Err(Violation));
    }

    #[test]
    fn the_host_is_not_sent_more_than_it_has_room_for() {
        let mut connection = open(100);
        assert_eq!(connection.header(Operation::RW, 60).length, 60);
        assert_eq!(connection.room(), 40);
        let mut lie = connection.header(Operation::CREDIT_UPDATE, 0);
        (lie.buffer, lie.taken) = (100, 4_000_000_000);
        connection.note_credit(&lie);
        assert_eq!(connection.room(), 0);
        (lie.buffer, lie.taken) = (100, 60);
        connection.note_credit(&lie);
        assert_eq!(connection.room(), 100);
    }
}
