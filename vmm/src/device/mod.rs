//! The one device of a card: virtio-mmio (VIRTIO 1.3, 4.2) with a vsock device (5.10) behind it.
//!
//! | module | subject |
//! |---|---|
//! | [`transport`] | registers, feature and queue negotiation |
//! | [`queues`] | taking packets from the guest and giving it packets: every byte of it hostile |
//! | [`packet`] | the 44-byte header |
//! | [`streams`] | one stream per port: opening, credit, closing |
//!
//! Guest data is copied once out of guest memory, then checked, then used.

pub mod packet;
pub mod queues;
pub mod streams;
pub mod transport;

/// The guest broke the virtio or vsock protocol; its card ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A ring or descriptor chain lies outside memory, loops or has the wrong direction.
    #[error("malformed virtqueue")]
    Queue,
    /// A transmitted packet is shorter than its header, longer than it says, or too long.
    #[error("malformed packet")]
    Packet,
    /// A packet from or to another context id, or of another socket type.
    #[error("packet for another address")]
    Address,
    /// The guest took back credit, or acknowledged more than it was sent.
    #[error("impossible credit")]
    Credit,
    /// The guest makes the device answer more than any driver would.
    #[error("too many packets that need an answer")]
    Flood,
}
