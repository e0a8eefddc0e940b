//! Pairing data: which of the card's software containers answers for the identifiers that they share, by
//! communication protocol.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::port::Protocol;

/// Most file identifiers that containers share.
pub const MAX_SHARED_FILES: usize = 16;
/// The master file (ETSI TS 102 221, 8.6).
pub const MF: u16 = 0x3F00;

/// A software container of the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Container {
    /// The GlobalPlatform secure element: its root is the issuer security domain.
    SecureElement,
    /// The UICC/eUICC: its roots are the master file and the ISD-R.
    Uicc,
    /// A second GlobalPlatform secure element, with the same root as the first and nothing else in common.
    SecondSecureElement,
}

/// A card's pairing data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolPairing {
    containers: [Container; Protocol::ALL.len()],
    shared_files: Vec<u16>,
}

/// More than [`MAX_SHARED_FILES`] file identifiers, or one of them twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPairing;

impl ProtocolPairing {
    /// The pairing in which each protocol has the container that `of` says, and that routes these file identifiers
    /// (ISO/IEC 7816-4, 7.3.1.2) by protocol as it does the root's AID.
    ///
    /// # Errors
    /// [`NoPairing`]
    pub fn new(of: impl Fn(Protocol) -> Container, shared_files: Vec<u16>) -> Result<Self, NoPairing> {
        let pairing = Self { containers: Protocol::ALL.map(of), shared_files };
        if pairing.is_valid() { Ok(pairing) } else { Err(NoPairing) }
    }

    /// True if the file identifiers are few enough, and none is there twice. To be asked of what was decoded.
    pub fn is_valid(&self) -> bool {
        let files = &self.shared_files;
        let once = files.iter().enumerate().all(|(at, file)| !files[..at].contains(file));
        files.len() <= MAX_SHARED_FILES && once
    }

    /// True if some protocol has this container.
    pub fn names(&self, container: Container) -> bool {
        self.containers.contains(&container)
    }

    /// The protocol's one container.
    pub const fn container(&self, protocol: Protocol) -> Container {
        self.containers[protocol as usize]
    }

    /// The file identifiers that are routed by protocol.
    pub fn shared_files(&self) -> &[u16] {
        &self.shared_files
    }
}

/// ISO/IEC 7816-3 is the UICC's, all else the secure element's; the master file is shared.
impl Default for ProtocolPairing {
    fn default() -> Self {
        let containers = Protocol::ALL.map(|protocol| match protocol {
            Protocol::Iso7816T0 | Protocol::Iso7816T1 => Container::Uicc,
            Protocol::ApduGate | Protocol::Spi | Protocol::SwpA | Protocol::SwpB => Container::SecureElement,
        });
        Self { containers, shared_files: Vec::from([MF]) }
    }
}
