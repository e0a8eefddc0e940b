//! A running card, seen from the daemon's end of its link.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use cardhost_wire::{
    control::{GuestMessage, HostMessage},
    frame::{FrameReader, framed},
    link::{Crash, HEADER, Header, Kind, MAX_PAYLOAD, Report, Statistics, frame},
    port::{Port, Protocol},
};

pub const GATE: Port = Port::Apdu(Protocol::ApduGate);

/// A card's process and its link.
pub struct Card {
    pub instance: u64,
    pub pid: u32,
    pub wrapped_key: Vec<u8>,
    pub link: Link,
}

/// The daemon's end.
pub struct Link(UnixStream);

impl From<UnixStream> for Link {
    fn from(socket: UnixStream) -> Self {
        Self(socket)
    }
}

impl Card {
    /// Opens the control stream and has a new card start.
    pub fn start(&mut self) -> GuestMessage {
        self.link.open(Port::Control);
        let answer = self.link.exchange(Port::Control, &HostMessage::Start(None).encode());
        GuestMessage::decode(&answer).unwrap()
    }

    /// A card that has started and answers APDUs.
    pub fn started(mut self) -> Self {
        assert!(matches!(self.start(), GuestMessage::Started(_)));
        self.link.open(GATE);
        self
    }

    pub fn apdu(&mut self, command: &[u8]) -> Vec<u8> {
        self.link.exchange(GATE, command)
    }

    /// Sends a command that the guest does not survive, and returns what its process says of the end. Data and
    /// ended streams before it are passed over.
    pub fn crash(&mut self, command: &[u8]) -> Crash {
        self.link.message(GATE, command);
        self.link.crash()
    }
}

impl Link {
    pub fn open(&mut self, port: Port) {
        self.send(Kind::Open, port.number(), &[]);
        assert_eq!(self.receive().map(|(kind, from, _)| (kind, from)), Some((Kind::Opened, port.number())));
    }

    pub fn message(&mut self, port: Port, message: &[u8]) {
        self.send(Kind::Data, port.number(), &framed(message));
    }

    pub fn send(&mut self, kind: Kind, port: u32, payload: &[u8]) {
        self.write(&frame(kind, port, payload));
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// One message there, one back.
    pub fn exchange(&mut self, port: Port, message: &[u8]) -> Vec<u8> {
        self.message(port, message);
        self.next_message(port)
    }

    /// The next message of this port.
    pub fn next_message(&mut self, port: Port) -> Vec<u8> {
        let mut reader = FrameReader::new();
        loop {
            if let Some(message) = reader.next_message().unwrap() {
                return message;
            }
            match self.receive() {
                Some((Kind::Data, from, payload)) if from == port.number() => reader.push(&payload),
                Some((Kind::Report, _, report)) => panic!("{:?}", Report::decode(&report)),
                other => panic!("{:?}", other.map(|(kind, from, _)| (kind, from))),
            }
        }
    }

    pub fn statistics(&mut self) -> Statistics {
        self.send(Kind::Query, 0, &[]);
        match self.report() {
            Report::Statistics(statistics) => statistics,
            Report::Crashed(crash) => panic!("{crash:?}"),
        }
    }

    pub fn crash(&mut self) -> Crash {
        match self.report() {
            Report::Crashed(crash) => crash,
            Report::Statistics(_) => panic!("nobody asked for statistics"),
        }
    }

    fn report(&mut self) -> Report {
        loop {
            let (kind, _, payload) = self.receive().expect("the process reports before it ends");
            if kind == Kind::Report {
                return Report::decode(&payload).unwrap();
            }
        }
    }

    /// The next frame, `None` at the link's end.
    pub fn receive(&mut self) -> Option<(Kind, u32, Vec<u8>)> {
        let mut header = [0; HEADER];
        self.0.read_exact(&mut header).ok()?;
        let header = Header::parse(&header).unwrap();
        assert!(header.length <= MAX_PAYLOAD);
        let mut payload = vec![0; header.length];
        self.0.read_exact(&mut payload).unwrap();
        Some((header.kind, header.port, payload))
    }
}
