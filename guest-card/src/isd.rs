//! The secure element's issuer security domain (GlobalPlatform Card Specification 2.3.1): selection and clean
//! refusals. It holds no keys.

use alloc::vec::Vec;

use cardhost_wire::{aid::Aid, apdu::CommandApdu, status::Status, tlv};

const GET_DATA: u8 = 0xCA;
const SELECT: u8 = 0xA4;

/// The selected issuer security domain.
#[derive(Default, PartialEq, Eq)]
pub struct Session(());

impl Session {
    /// File control information with the domain's AID (11.9.3.1).
    pub fn select_response() -> Vec<u8> {
        tlv::object(0x6F, &tlv::object(0x84, Aid::SHARED_ROOT.as_bytes()))
    }

    /// Refuses one command.
    ///
    /// # Errors
    /// Always: a status word for the terminal.
    pub fn execute(&mut self, command: &CommandApdu<'_>) -> Result<Vec<u8>, Status> {
        Err(match command.ins {
            SELECT => Status::NOT_FOUND,
            GET_DATA => Status::REFERENCED_DATA_NOT_FOUND,
            _ => Status::INSTRUCTION_NOT_SUPPORTED,
        })
    }
}
