//! The vsock packet header (VIRTIO 1.3, 5.10.6): 44 little-endian bytes before the payload.

use cardhost_wire::port::{GUEST_CID, HOST_CID};

/// Bytes of the header.
pub const HEADER: usize = 44;
/// Socket type of a byte stream.
const STREAM: u16 = 1;

/// What a packet does. Unknown values survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation(pub u16);

impl Operation {
    /// Asks for a connection.
    pub const REQUEST: Self = Self(1);
    /// Accepts one.
    pub const RESPONSE: Self = Self(2);
    /// Refuses or ends one.
    pub const RST: Self = Self(3);
    /// Announces its end.
    pub const SHUTDOWN: Self = Self(4);
    /// Carries bytes.
    pub const RW: Self = Self(5);
    /// Tells the sender's room.
    pub const CREDIT_UPDATE: Self = Self(6);
    /// Asks for the receiver's room.
    pub const CREDIT_REQUEST: Self = Self(7);
}

/// A header, from the guest's side: which of its ports, which of the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The guest's port.
    pub port: u32,
    /// The host's port.
    pub peer_port: u32,
    /// Payload bytes that follow.
    pub length: usize,
    /// What the packet does.
    pub operation: Operation,
    /// The sender's whole receive buffer, bytes.
    pub buffer: u32,
    /// Bytes that the sender has taken out of it so far, wrapping.
    pub taken: u32,
}

impl Header {
    /// Reads a packet from the host: its header and payload. `None` if it is short, for another context id or no
    /// stream, or if the announced length is not the payload's.
    pub fn parse(packet: &[u8]) -> Option<(Self, &[u8])> {
        let (header, payload) = packet.split_first_chunk::<HEADER>()?;
        let addressed = number64(header, 0) == HOST_CID && number64(header, 8) == GUEST_CID;
        let length = number32(header, 24) as usize;
        let parsed = Self {
            peer_port: number32(header, 16),
            port: number32(header, 20),
            length,
            operation: Operation(number16(header, 30)),
            buffer: number32(header, 36),
            taken: number32(header, 40),
        };
        (addressed && number16(header, 28) == STREAM).then_some((parsed, payload.get(..length)?))
    }

    /// The header's bytes, from the guest to the host.
    pub fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..8].copy_from_slice(&GUEST_CID.to_le_bytes());
        bytes[8..16].copy_from_slice(&HOST_CID.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.port.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.peer_port.to_le_bytes());
        bytes[24..28].copy_from_slice(&(self.length as u32).to_le_bytes());
        bytes[28..30].copy_from_slice(&STREAM.to_le_bytes());
        bytes[30..32].copy_from_slice(&self.operation.0.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.buffer.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.taken.to_le_bytes());
        bytes
    }
}

fn number16(header: &[u8; HEADER], at: usize) -> u16 {
    u16::from_le_bytes([header[at], header[at + 1]])
}

fn number32(header: &[u8; HEADER], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

fn number64(header: &[u8; HEADER], at: usize) -> u64 {
    u64::from(number32(header, at)) | u64::from(number32(header, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_host(header: Header, payload: &[u8]) -> Vec<u8> {
        let mut bytes = header.to_bytes();
        bytes[..16].rotate_left(8);
        bytes[16..24].rotate_left(4);
        [&bytes[..], payload].concat()
    }

    const RW: Header =
        Header { port: 5001, peer_port: 1024, length: 3, operation: Operation::RW, buffer: 9, taken: 7 };

    #[test]
    fn a_packet_survives_a_round_trip() {
        assert_eq!(Header::parse(&from_host(RW, b"abc")), Some((RW, &b"abc"[..])));
    }

    #[test]
    fn lying_lengths_and_strangers_are_ignored() {
        let good = from_host(RW, b"abc");
        assert_eq!(Header::parse(&good[..good.len() - 1]), None);
        assert_eq!(Header::parse(&good[..HEADER - 1]), None);
        for at in [0, 8, 28] {
            let mut stranger = good.clone();
            stranger[at] ^= 1;
            assert_eq!(Header::parse(&stranger), None);
        }
        let mut giant = good.clone();
        giant[24..28].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Header::parse(&giant), None);
    }
}
