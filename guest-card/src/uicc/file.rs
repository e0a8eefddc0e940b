//! The enabled profile's files, and file control parameters (ETSI TS 102 221, 11.1.1.3 and 13; 3GPP TS 31.102, 4.2).

use alloc::vec::Vec;

use cardhost_wire::{aid::Aid, protocols::MF, status::Status, tlv::object};

use super::euicc::StoredProfile;

/// Operational, activated (11.1.1.4.9).
const ACTIVATED: [u8; 1] = [0x05];
/// A DF, shareable (11.1.1.4.3).
const DIRECTORY: [u8; 2] = [0x78, 0x21];

/// A directory that has files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// The master file.
    Mf,
    /// The USIM's.
    Usim,
}

/// An elementary file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ef {
    /// The profile's identifier.
    Iccid,
    /// The applications.
    Dir,
    /// The subscriber.
    Imsi,
}

impl Ef {
    const ALL: [Self; 3] = [Self::Iccid, Self::Dir, Self::Imsi];

    /// The file with this identifier in a directory.
    pub fn find(parent: Parent, id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|file| file.parent() == parent && file.id() == id)
    }

    /// The file with this short identifier in a directory.
    pub fn find_short(parent: Parent, sfi: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|file| file.parent() == parent && file.sfi() == sfi)
    }

    const fn parent(self) -> Parent {
        match self {
            Self::Iccid | Self::Dir => Parent::Mf,
            Self::Imsi => Parent::Usim,
        }
    }

    const fn id(self) -> u16 {
        match self {
            Self::Iccid => 0x2FE2,
            Self::Dir => 0x2F00,
            Self::Imsi => 0x6F07,
        }
    }

    const fn sfi(self) -> u8 {
        match self {
            Self::Iccid => 0x02,
            Self::Dir => 0x1E,
            Self::Imsi => 0x07,
        }
    }

    /// True for records, false for a transparent file.
    pub const fn is_linear_fixed(self) -> bool {
        matches!(self, Self::Dir)
    }

    /// The content, which is the one record of a file of records.
    pub fn content(self, profile: &StoredProfile) -> Vec<u8> {
        match self {
            Self::Iccid => profile.metadata.iccid.coded().to_vec(),
            Self::Dir => object(0x61, &[object(0x4F, Aid::USIM.as_bytes()), object(0x50, b"USIM")].concat()),
            Self::Imsi => profile.imsi.coded().to_vec(),
        }
    }

    /// Its file control parameters, with this content.
    pub fn parameters(self, content: &[u8]) -> Vec<u8> {
        let size = content.len() as u8;
        let descriptor = match self.is_linear_fixed() {
            true => object(0x82, &[0x42, 0x21, 0x00, size, 0x01]),
            false => object(0x82, &[0x41, 0x21]),
        };
        let parameters = [
            descriptor,
            object(0x83, &self.id().to_be_bytes()),
            object(0x8A, &ACTIVATED),
            // Nobody updates, everybody reads (ISO/IEC 7816-4, 5.4.3.1).
            object(0x8C, &[0x03, 0xFF, 0x00]),
            object(0x80, &[0x00, size]),
            object(0x88, &[self.sfi() << 3]),
        ];
        object(0x62, &parameters.concat())
    }
}

/// Those of the master file.
pub fn mf() -> Vec<u8> {
    let parameters = [
        object(0x82, &DIRECTORY),
        object(0x83, &MF.to_be_bytes()),
        // The clock may stop, no supply voltage class is demanded; TERMINAL CAPABILITY is supported (11.1.1.4.6).
        object(0xA5, &[object(0x80, &[0x71]), object(0x87, &[0x01])].concat()),
        object(0x8A, &ACTIVATED),
        pin_status(),
    ];
    object(0x62, &parameters.concat())
}

/// Those of the USIM's directory.
pub fn usim() -> Vec<u8> {
    let parameters = [
        object(0x82, &DIRECTORY),
        object(0x84, Aid::USIM.as_bytes()),
        object(0xA5, &object(0x80, &[0x71])),
        object(0x8A, &ACTIVATED),
        pin_status(),
    ];
    object(0x62, &parameters.concat())
}

/// No PIN is in force, the application PIN 01 exists in name only (11.1.1.4.10).
fn pin_status() -> Vec<u8> {
    object(0xC6, &[object(0x90, &[0x00]), object(0x83, &[0x01])].concat())
}

/// As much as Le says; all if it says nothing or the most.
///
/// # Errors
/// `6Cxx`: there is less.
pub fn piece(rest: &[u8], le: Option<u32>) -> Result<Vec<u8>, Status> {
    match le {
        None | Some(256 | 65_536) => Ok(rest.to_vec()),
        Some(le) => rest.get(..le as usize).map(<[u8]>::to_vec).ok_or(Status::exact_length(rest.len() as u8)),
    }
}
