//! The link: one Unix stream socket between the daemon and a card's process that carries all vsock streams of
//! the card, and what the process itself has to say. The launcher makes it, and writes the guest's launch into it
//! ([`crate::control::Launch`]) before the daemon has its end.
//!
//! A frame is a 12-byte header and a payload:
//!
//! ```text
//! 0      1        4           8            12
//! ├──────┼────────┼───────────┼────────────┼─────────
//! │ kind │ 0 0 0  │ port (LE) │ length(LE) │ payload
//! ```
//!
//! The daemon opens and closes streams; the guest may only close one. `Data` carries bytes of the stream, cut
//! anywhere. The card process gives the guest no more than the guest has room for and then stops reading the
//! link, so a slow guest slows its own daemon task and nobody else.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{codec::message, frame};

/// Bytes of a frame's header.
pub const HEADER: usize = 12;
/// Longest payload; longer data is sent in several frames.
pub const MAX_PAYLOAD: usize = frame::MAX_MESSAGE + frame::PREFIX;

/// What a frame does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Daemon: connect to the guest's port.
    Open = 1,
    /// Process: the guest accepted.
    Opened = 2,
    /// Both: bytes of the stream.
    Data = 3,
    /// Daemon: end the stream. Process: the stream ended or the guest refused it.
    Close = 4,
    /// Process: a [`Report`]; the port is 0.
    Report = 5,
    /// Daemon: send [`Report::Statistics`] now; the guest does not run for it. The port is 0.
    Query = 6,
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame does.
    pub kind: Kind,
    /// The vsock port number it concerns.
    pub port: u32,
    /// Payload bytes that follow.
    pub length: usize,
}

/// The peer's header is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedHeader;

impl core::fmt::Display for MalformedHeader {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("malformed link header")
    }
}

impl core::error::Error for MalformedHeader {}

impl Header {
    /// The header's bytes.
    pub fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0] = self.kind as u8;
        bytes[4..8].copy_from_slice(&self.port.to_le_bytes());
        bytes[8..].copy_from_slice(&(self.length as u32).to_le_bytes());
        bytes
    }

    /// Reads a header; unknown kinds, non-zero padding and payloads beyond [`MAX_PAYLOAD`] are refused.
    pub fn parse(bytes: &[u8; HEADER]) -> Result<Self, MalformedHeader> {
        let kind = match bytes[..4] {
            [1, 0, 0, 0] => Kind::Open,
            [2, 0, 0, 0] => Kind::Opened,
            [3, 0, 0, 0] => Kind::Data,
            [4, 0, 0, 0] => Kind::Close,
            [5, 0, 0, 0] => Kind::Report,
            [6, 0, 0, 0] => Kind::Query,
            _ => return Err(MalformedHeader),
        };
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let length = number(8) as usize;
        if length > MAX_PAYLOAD {
            return Err(MalformedHeader);
        }
        Ok(Self { kind, port: number(4), length })
    }
}

/// A frame as bytes.
pub fn frame(kind: Kind, port: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend(Header { kind, port, length: payload.len() }.to_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// What the card's process says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// Answer to [`Kind::Query`].
    Statistics(Statistics),
    /// The guest is dead; the process ends after this frame.
    Crashed(Crash),
}
message!(Report);

/// Counters since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Returns from KVM_RUN.
    pub exits: u64,
    /// Guest memory pages that are resident, 4 KiB each.
    pub resident_pages: u64,
    /// CPU time of the process, microseconds, guest included.
    pub cpu_us: u64,
}

/// Why the guest ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    /// What happened.
    pub cause: CrashCause,
    /// Instruction pointer, 0 if unknown.
    pub rip: u64,
    /// `symbol+offset` of `rip`, empty if unknown.
    pub symbol: alloc::string::String,
}

/// What ended the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CrashCause {
    /// A processor exception; `vector` as in the Intel SDM, volume 3, 6.3.1. `address` is CR2 for a page fault.
    Exception {
        /// Exception vector, `None` where this processor's KVM does not tell.
        vector: Option<u8>,
        /// Error code.
        error_code: u32,
        /// Faulting address of a page fault.
        address: u64,
    },
    /// The guest used up its CPU time without finishing an exchange.
    Runaway {
        /// The budget, milliseconds.
        budget_ms: u32,
    },
    /// The guest broke the virtio or vsock protocol.
    Protocol(alloc::string::String),
    /// An exit that this microVM never needs.
    UnexpectedExit(alloc::string::String),
}
