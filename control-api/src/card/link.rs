//! The daemon's end of a card's link ([`cardhost_wire::link`]).

use std::{
    io,
    os::{fd::OwnedFd, unix::net},
};

use cardhost_wire::{
    frame,
    link::{HEADER, Header, Kind},
};
use tokio::{io::Interest, net::UnixStream};
use zeroize::Zeroizing;

use super::{CardError, Violation};

/// Read at a time.
const READ: usize = 4096;
/// Nothing more is accepted for sending beyond this.
const MAX_OUTGOING: usize = 4 * frame::MAX_MESSAGE;

/// A received frame.
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) port: u32,
    pub(super) payload: Zeroizing<Vec<u8>>,
}

/// The socket with what is half read and half written. It reads while it writes, so that the two ends never
/// wait for each other.
pub(super) struct Link {
    stream: UnixStream,
    incoming: Vec<u8>,
    outgoing: Zeroizing<Vec<u8>>,
    written: usize,
}

impl Link {
    /// A link by the daemon's end of its socket.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = net::UnixStream::from(socket);
        socket.set_nonblocking(true)?;
        let stream = UnixStream::from_std(socket)?;
        Ok(Self { stream, incoming: Vec::new(), outgoing: Zeroizing::default(), written: 0 })
    }

    /// True if the process takes what it is sent.
    pub(super) fn has_room(&self) -> bool {
        self.outgoing.len() - self.written < MAX_OUTGOING
    }

    /// Queues a frame without payload.
    pub(super) fn signal(&mut self, kind: Kind, port: u32) {
        self.append(kind, port, &[]);
    }

    /// Queues a message of a stream.
    pub(super) fn message(&mut self, port: u32, message: &[u8]) {
        self.append(Kind::Data, port, &[&frame::prefix(message.len()), message]);
    }

    fn append(&mut self, kind: Kind, port: u32, parts: &[&[u8]]) {
        let length = parts.iter().map(|part| part.len()).sum();
        self.reserve(HEADER + length);
        self.outgoing.extend(Header { kind, port, length }.to_bytes());
        parts.iter().for_each(|part| self.outgoing.extend_from_slice(part));
    }

    /// Room without leaving an unerased copy behind, as growth in place would.
    fn reserve(&mut self, additional: usize) {
        if self.outgoing.capacity() - self.outgoing.len() < additional {
            let unsent = &self.outgoing[self.written..];
            let mut larger = Zeroizing::new(Vec::with_capacity(unsent.len() + additional));
            larger.extend_from_slice(unsent);
            (self.outgoing, self.written) = (larger, 0);
        }
    }

    /// Sends what is queued as far as the link takes it.
    pub(super) fn send_ahead(&mut self) -> Result<(), CardError> {
        self.flush()
    }

    /// The next frame; sends what is queued meanwhile. Cancelling loses nothing.
    pub(super) async fn next(&mut self) -> Result<Frame, CardError> {
        loop {
            self.flush()?;
            if let Some(frame) = self.parse()? {
                return Ok(frame);
            }
            let unsent = self.written < self.outgoing.len();
            let interest = if unsent { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            let ready = self.stream.ready(interest).await.map_err(|_| CardError::Stopped)?;
            if ready.is_readable() {
                self.fill()?;
            }
        }
    }

    fn flush(&mut self) -> Result<(), CardError> {
        while self.written < self.outgoing.len() {
            match self.stream.try_write(&self.outgoing[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // What the process sent before its end is read first.
                Err(_) => break,
            }
        }
        self.outgoing = Zeroizing::default();
        self.written = 0;
        Ok(())
    }

    fn fill(&mut self) -> Result<(), CardError> {
        self.incoming.reserve(READ);
        match self.stream.try_read_buf(&mut self.incoming) {
            Ok(0) => Err(CardError::Stopped),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(_) => Err(CardError::Stopped),
        }
    }

    fn parse(&mut self) -> Result<Option<Frame>, CardError> {
        let Some(header) = self.incoming.first_chunk() else { return Ok(None) };
        let header = Header::parse(header).map_err(|_| CardError::Misbehaved(Violation::Malformed))?;
        let end = HEADER + header.length;
        let Some(payload) = self.incoming.get(HEADER..end) else { return Ok(None) };
        let frame = Frame { kind: header.kind, port: header.port, payload: Zeroizing::new(payload.to_vec()) };
        self.incoming.drain(..end);
        if self.incoming.is_empty() {
            self.incoming = Vec::new();
        }
        Ok(Some(frame))
    }
}
