//! The UICC's root: it answers on its protocols and has no files yet.

use alloc::vec::Vec;

use cardhost_wire::{apdu::CommandApdu, status::Status};

const SELECT: u8 = 0xA4;

/// The selected root.
#[derive(Default, PartialEq, Eq)]
pub struct Session(());

impl Session {
    /// Refuses one command.
    ///
    /// # Errors
    /// Always: a status word for the terminal.
    pub fn execute(&mut self, command: &CommandApdu<'_>) -> Result<Vec<u8>, Status> {
        Err(if command.ins == SELECT { Status::NOT_FOUND } else { Status::INSTRUCTION_NOT_SUPPORTED })
    }
}
