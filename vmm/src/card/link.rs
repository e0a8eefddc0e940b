//! The card process's end of the link: blocking frames over the Unix socket.

use std::{
    io::{self, Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
};

use cardhost_wire::link::{HEADER, Header, Kind, MAX_PAYLOAD, MalformedHeader};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv},
};
use zeroize::{Zeroize, Zeroizing};

/// Room for the usual frame; longer ones grow it for good.
const INITIAL: usize = 4 * 1024;

/// The daemon's fault, or its end.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The daemon closed the link.
    #[error("the daemon closed the link")]
    Closed,
    /// The socket failed.
    #[error("the link failed")]
    Socket(#[from] io::Error),
    /// The daemon sent a malformed header.
    #[error("the daemon broke the link's format")]
    Malformed(#[from] MalformedHeader),
}

/// A frame's header and payload.
pub type Frame = (Header, Zeroizing<Vec<u8>>);

/// The link, with what has been read ahead and what is still to be written.
pub struct Link {
    socket: UnixStream,
    input: Zeroizing<Vec<u8>>,
    start: usize,
    end: usize,
    output: Vec<u8>,
}

impl Link {
    /// A link over its socket.
    pub fn new(socket: UnixStream) -> Self {
        Self { socket, input: Zeroizing::new(vec![0; INITIAL]), start: 0, end: 0, output: Vec::new() }
    }

    /// Queues one frame.
    pub fn queue(&mut self, kind: Kind, port: u32, payload: &[u8]) {
        for chunk in payload.chunks(MAX_PAYLOAD).chain(payload.is_empty().then_some(payload)) {
            self.output.extend(Header { kind, port, length: chunk.len() }.to_bytes());
            self.output.extend_from_slice(chunk);
        }
    }

    /// Writes what is queued, in one system call where the socket takes it.
    pub fn flush(&mut self) -> Result<(), LinkError> {
        if !self.output.is_empty() {
            self.socket.write_all(&self.output)?;
            self.output.clear();
        }
        Ok(())
    }

    /// The next frame that has been read whole, without blocking.
    pub fn buffered(&mut self) -> Result<Option<Frame>, LinkError> {
        let unread = &self.input[self.start..self.end];
        let Some(header) = unread.first_chunk::<HEADER>() else { return Ok(None) };
        let header = Header::parse(header)?;
        let Some(payload) = unread[HEADER..].get(..header.length) else { return Ok(None) };
        let payload = Zeroizing::new(payload.to_vec());
        let end = self.start + HEADER + header.length;
        // Of the launch this is the card's key.
        self.input[self.start..end].zeroize();
        self.start = end;
        Ok(Some((header, payload)))
    }

    /// Blocks until more bytes have arrived.
    pub fn fill(&mut self) -> Result<(), LinkError> {
        self.make_room();
        loop {
            match self.socket.read(&mut self.input[self.end..]) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(count) => {
                    self.end += count;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// True if nothing has been read that was not taken.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Takes what has arrived already.
    pub fn fill_ahead(&mut self) -> Result<(), LinkError> {
        self.make_room();
        match recv(self.socket.as_raw_fd(), &mut self.input[self.end..], MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Err(LinkError::Closed),
            Ok(count) => {
                self.end += count;
                Ok(())
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(()),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    fn make_room(&mut self) {
        self.input.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.input.len() {
            let mut grown = Zeroizing::new(vec![0; (self.input.len() * 2).min(HEADER + MAX_PAYLOAD)]);
            grown[..self.end].copy_from_slice(&self.input[..self.end]);
            self.input = grown;
        }
    }
}
