//! The APDU streams of a card, one per protocol.
//!
//! ```text
//! closed ──open──▶ opening ──Opened──▶ idle ──exchange──▶ busy ──whole response──▶ idle
//!    ▲                │ Close             │ close            │ close
//!    └────────────────┴───────────────────┴──────────────────┘
//! ```

use cardhost_wire::{frame::FrameReader, link::Kind, port::Protocol};
use tokio::{sync::oneshot, time::Instant};
use zeroize::Zeroizing;

use super::{
    CardError, Violation,
    link::{Frame, Link},
};

pub(super) type Reply<T> = oneshot::Sender<Result<T, CardError>>;
/// A response APDU.
pub(super) type Response = Zeroizing<Vec<u8>>;

enum Stream {
    Closed,
    Opening { reply: Reply<()>, deadline: Instant },
    Idle(FrameReader),
    Busy { reader: FrameReader, reply: Reply<Response>, deadline: Instant },
}

/// The streams, in port order.
pub(super) struct Ports([Stream; Protocol::ALL.len()]);

impl Ports {
    pub(super) fn new() -> Self {
        Self([const { Stream::Closed }; Protocol::ALL.len()])
    }

    /// Opens a stream, which begins a session of this protocol in the guest.
    pub(super) fn open(&mut self, link: &mut Link, protocol: Protocol, reply: Reply<()>, deadline: Instant) {
        self.close(link, protocol);
        link.signal(Kind::Open, number(protocol));
        *self.stream(protocol) = Stream::Opening { reply, deadline };
    }

    /// Ends a stream and the session with it.
    pub(super) fn close(&mut self, link: &mut Link, protocol: Protocol) {
        let stream = self.stream(protocol);
        if !matches!(stream, Stream::Closed) {
            *stream = Stream::Closed;
            link.signal(Kind::Close, number(protocol));
        }
    }

    /// Sends a command APDU; one at a time.
    pub(super) fn exchange(
        &mut self,
        link: &mut Link,
        protocol: Protocol,
        command: &[u8],
        reply: Reply<Response>,
        deadline: Instant,
    ) {
        let stream = self.stream(protocol);
        match std::mem::replace(stream, Stream::Closed) {
            Stream::Idle(reader) => {
                link.message(number(protocol), command);
                *stream = Stream::Busy { reader, reply, deadline };
            }
            other => {
                *stream = other;
                drop(reply.send(Err(CardError::Busy)));
            }
        }
    }

    /// Takes a frame of this protocol's stream.
    pub(super) fn take(&mut self, protocol: Protocol, frame: Frame) -> Result<(), CardError> {
        let stream = self.stream(protocol);
        let (next, result) = match std::mem::replace(stream, Stream::Closed) {
            Stream::Opening { reply, deadline } => opening(reply, deadline, frame.kind),
            Stream::Busy { reader, reply, deadline } => busy(reader, reply, deadline, frame),
            Stream::Idle(reader) => idle(reader, frame.kind),
            // What was under way when the stream was closed.
            Stream::Closed => (Stream::Closed, Ok(())),
        };
        *stream = next;
        result
    }

    /// True while a response is due.
    pub(super) fn are_busy(&self) -> bool {
        self.0.iter().any(|stream| matches!(stream, Stream::Busy { .. }))
    }

    /// The earliest time at which an answer is overdue.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let deadline = |stream: &Stream| match stream {
            Stream::Opening { deadline, .. } | Stream::Busy { deadline, .. } => Some(*deadline),
            Stream::Closed | Stream::Idle(_) => None,
        };
        self.0.iter().filter_map(deadline).min()
    }

    /// Tells everyone who waits that no answer came in time.
    pub(super) fn time_out(&mut self) {
        for stream in &mut self.0 {
            match std::mem::replace(stream, Stream::Closed) {
                Stream::Opening { reply, .. } => drop(reply.send(Err(CardError::TimedOut))),
                Stream::Busy { reply, .. } => drop(reply.send(Err(CardError::TimedOut))),
                Stream::Closed | Stream::Idle(_) => {}
            }
        }
    }

    fn stream(&mut self, protocol: Protocol) -> &mut Stream {
        &mut self.0[protocol as usize]
    }
}

fn number(protocol: Protocol) -> u32 {
    cardhost_wire::port::Port::Apdu(protocol).number()
}

fn opening(reply: Reply<()>, deadline: Instant, kind: Kind) -> (Stream, Result<(), CardError>) {
    match kind {
        Kind::Opened => {
            drop(reply.send(Ok(())));
            (Stream::Idle(FrameReader::new()), Ok(()))
        }
        Kind::Close => {
            drop(reply.send(Err(CardError::Misbehaved(Violation::StreamClosed))));
            (Stream::Closed, Ok(()))
        }
        // The rest of the stream before this one.
        _ => (Stream::Opening { reply, deadline }, Ok(())),
    }
}

fn idle(reader: FrameReader, kind: Kind) -> (Stream, Result<(), CardError>) {
    match kind {
        Kind::Close => (Stream::Closed, Ok(())),
        _ => (Stream::Idle(reader), Err(CardError::Misbehaved(Violation::Unexpected))),
    }
}

fn busy(
    mut reader: FrameReader,
    reply: Reply<Response>,
    deadline: Instant,
    frame: Frame,
) -> (Stream, Result<(), CardError>) {
    match frame.kind {
        Kind::Data => reader.push(&frame.payload),
        Kind::Close => {
            drop(reply.send(Err(CardError::Stopped)));
            return (Stream::Closed, Ok(()));
        }
        _ => return (Stream::Closed, Err(CardError::Misbehaved(Violation::Unexpected))),
    }
    match reader.next_message() {
        Ok(Some(response)) => {
            drop(reply.send(Ok(Zeroizing::new(response))));
            (Stream::Idle(reader), Ok(()))
        }
        Ok(None) => (Stream::Busy { reader, reply, deadline }, Ok(())),
        Err(_) => (Stream::Closed, Err(CardError::Misbehaved(Violation::Malformed))),
    }
}
