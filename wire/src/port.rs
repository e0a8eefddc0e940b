//! The vsock address plan: every guest sees the same context ids; one listening port per communication protocol.

use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The host's vsock context id (VIRTIO 1.3, 5.10.4).
pub const HOST_CID: u64 = 2;
/// Every guest's vsock context id: a microVM has one card and sees no neighbour.
pub const GUEST_CID: u64 = 3;

/// A vsock port on which the guest listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Port {
    /// The host's control stream: launch, seed, sealed state, narrow commands ([`crate::control`]).
    Control,
    /// APDUs of one communication protocol.
    Apdu(Protocol),
}

/// A communication protocol between terminal and card. It decides which container a shared identifier names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// APDU gate: the secure element's default.
    ApduGate,
    /// SPI.
    Spi,
    /// Single wire protocol, contactless type A.
    SwpA,
    /// Single wire protocol, contactless type B.
    SwpB,
    /// ISO/IEC 7816-3 T=0.
    #[serde(rename = "iso7816-t0")]
    Iso7816T0,
    /// ISO/IEC 7816-3 T=1.
    #[serde(rename = "iso7816-t1")]
    Iso7816T1,
}

impl Protocol {
    /// Every protocol, in port order.
    pub const ALL: [Self; 6] =
        [Self::ApduGate, Self::Spi, Self::SwpA, Self::SwpB, Self::Iso7816T0, Self::Iso7816T1];

    /// The protocol's name on every surface.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApduGate => "apdu-gate",
            Self::Spi => "spi",
            Self::SwpA => "swp-a",
            Self::SwpB => "swp-b",
            Self::Iso7816T0 => "iso7816-t0",
            Self::Iso7816T1 => "iso7816-t1",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No protocol has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownProtocol;

impl fmt::Display for UnknownProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown protocol; known are apdu-gate, spi, swp-a, swp-b, iso7816-t0, iso7816-t1")
    }
}

impl core::error::Error for UnknownProtocol {}

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(name: &str) -> Result<Self, UnknownProtocol> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == name).ok_or(UnknownProtocol)
    }
}

impl Port {
    /// Every port, control first.
    pub const ALL: [Self; 7] = [
        Self::Control,
        Self::Apdu(Protocol::ApduGate),
        Self::Apdu(Protocol::Spi),
        Self::Apdu(Protocol::SwpA),
        Self::Apdu(Protocol::SwpB),
        Self::Apdu(Protocol::Iso7816T0),
        Self::Apdu(Protocol::Iso7816T1),
    ];

    /// The vsock port number.
    pub const fn number(self) -> u32 {
        match self {
            Self::Control => 5000,
            Self::Apdu(protocol) => 5001 + protocol as u32,
        }
    }

    /// The port with this number, if the card listens on it.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|port| port.number() == number)
    }
}
