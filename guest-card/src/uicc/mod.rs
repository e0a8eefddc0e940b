//! The UICC/eUICC: its master file (ETSI TS 102 221) and its ISD-R (GSMA SGP.22).
//!
//! The ISD-R demands the same AID for its root as GlobalPlatform does for the issuer security domain. It stands under
//! [`Aid::EUICC_ROOT`], and the shared AID is an alias that the router resolves by protocol.

mod file;

use alloc::vec::Vec;

use cardhost_wire::{aid::Aid, apdu::CommandApdu, protocols::MF, status::Status, tlv};

const SELECT: u8 = 0xA4;
const STATUS: u8 = 0xF2;
/// SELECT by file identifier (ISO/IEC 7816-4, table 62).
const BY_FILE_ID: u8 = 0x00;
/// P2 of SELECT: the file control parameters are wanted, or nothing (ETSI TS 102 221, table 11.2).
const WANT_FCP: u8 = 0x04;
const WANT_NOTHING: u8 = 0x0C;

/// What is selected in the container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Session {
    /// The master file, as after a reset.
    #[default]
    Mf,
    /// The ISD-R, selected by this name.
    IsdR(Aid),
}

impl Session {
    /// What this full or partial DF name means here, whatever the protocol. The eUICC's root never answers to a part
    /// of its name.
    pub fn resolve(name: &[u8]) -> Option<Self> {
        if name == Aid::EUICC_ROOT.as_bytes() {
            return Some(Self::IsdR(Aid::EUICC_ROOT));
        }
        Aid::ISD_R.matches(name).then_some(Self::IsdR(Aid::ISD_R))
    }

    /// File control parameters of the master file, or file control information of the ISD-R.
    pub fn select_response(self) -> Vec<u8> {
        match self {
            Self::Mf => file::mf(),
            Self::IsdR(name) => tlv::object(0x6F, &tlv::object(0x84, name.as_bytes())),
        }
    }

    /// SELECT by file identifier of a file that the router found to be this container's.
    ///
    /// # Errors
    /// `6A82`: there is no such file; what was selected stays so. `6A86`: another answer is wanted than there is.
    pub fn select_file(file: u16, p2: u8) -> Result<(Self, Vec<u8>), Status> {
        if file != MF {
            return Err(Status::NOT_FOUND);
        }
        match p2 & 0x0C {
            WANT_FCP | 0x00 => Ok((Self::Mf, Self::Mf.select_response())),
            WANT_NOTHING => Ok((Self::Mf, Vec::new())),
            _ => Err(Status::INCORRECT_P1_P2),
        }
    }

    /// Executes one whole command.
    ///
    /// # Errors
    /// A status word for the terminal.
    pub fn execute(&mut self, command: &CommandApdu<'_>) -> Result<Vec<u8>, Status> {
        match (command.ins, command.p1, command.data) {
            (SELECT, BY_FILE_ID, &[high, low]) => {
                let (selected, response) = Self::select_file(u16::from_be_bytes([high, low]), command.p2)?;
                *self = selected;
                Ok(response)
            }
            (SELECT, ..) => Err(Status::NOT_FOUND),
            (STATUS, 0x00..=0x02, []) if *self == Self::Mf => status(command.p2),
            _ => Err(Status::INSTRUCTION_NOT_SUPPORTED),
        }
    }
}

/// STATUS (ETSI TS 102 221, 11.1.2) of the master file.
fn status(p2: u8) -> Result<Vec<u8>, Status> {
    match p2 {
        0x00 => Ok(file::mf()),
        0x0C => Ok(Vec::new()),
        _ => Err(Status::INCORRECT_P1_P2),
    }
}
