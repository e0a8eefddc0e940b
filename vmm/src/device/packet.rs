//! The vsock packet header (VIRTIO 1.3, 5.10.6), little-endian:
//!
//! ```text
//! 0         8         16         20         24    28     30   32      36          40        44
//! ├─────────┼─────────┼──────────┼──────────┼─────┼──────┼────┼───────┼───────────┼─────────┤
//! │ src_cid │ dst_cid │ src_port │ dst_port │ len │ type │ op │ flags │ buf_alloc │ fwd_cnt │
//! ```

use cardhost_wire::port::{GUEST_CID, HOST_CID};

use super::Violation;

/// Bytes of the header.
pub const HEADER: usize = virtio_vsock::packet::PKT_HEADER_SIZE;
/// Stream socket.
const STREAM: u16 = 1;

/// What a packet does. Unknown values survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation(pub u16);

impl Operation {
    /// Connect.
    pub const REQUEST: Self = Self(1);
    /// Accept.
    pub const RESPONSE: Self = Self(2);
    /// Refuse, or end at once.
    pub const RST: Self = Self(3);
    /// End in one or both directions.
    pub const SHUTDOWN: Self = Self(4);
    /// Data.
    pub const RW: Self = Self(5);
    /// Tell the credit.
    pub const CREDIT_UPDATE: Self = Self(6);
    /// Ask for the credit.
    pub const CREDIT_REQUEST: Self = Self(7);
}

/// A header without the addresses that are the same for every packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The host's port: names one incarnation of a stream.
    pub host_port: u32,
    /// The guest's port.
    pub guest_port: u32,
    /// Bytes that follow.
    pub length: u32,
    /// What the packet does.
    pub operation: Operation,
    /// The sender's buffer, bytes.
    pub buf_alloc: u32,
    /// Bytes that the sender has consumed, modulo 2^32.
    pub fwd_cnt: u32,
}

impl Header {
    /// Reads what the guest sent.
    pub fn parse(bytes: &[u8; HEADER]) -> Result<Self, Violation> {
        let (cids, rest) = bytes.split_at(16);
        let expected = [GUEST_CID.to_le_bytes(), HOST_CID.to_le_bytes()].concat();
        let word = |at: usize| u32::from_le_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
        let half = |at: usize| u16::from_le_bytes([rest[at], rest[at + 1]]);
        if cids != expected || half(12) != STREAM {
            return Err(Violation::Address);
        }
        Ok(Self {
            guest_port: word(0),
            host_port: word(4),
            length: word(8),
            operation: Operation(half(14)),
            buf_alloc: word(20),
            fwd_cnt: word(24),
        })
    }

    /// The bytes for the guest.
    pub fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..8].copy_from_slice(&HOST_CID.to_le_bytes());
        bytes[8..16].copy_from_slice(&GUEST_CID.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.host_port.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.guest_port.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.length.to_le_bytes());
        bytes[28..30].copy_from_slice(&STREAM.to_le_bytes());
        bytes[30..32].copy_from_slice(&self.operation.0.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.buf_alloc.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.fwd_cnt.to_le_bytes());
        bytes
    }
}
