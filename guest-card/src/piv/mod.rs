//! The PIV application (SP 800-73-5).

use alloc::vec::Vec;

use cardhost_wire::{
    apdu::CommandApdu,
    control::{Answer, Command, Credential, Failure},
    status::Status,
};

use crate::{nvm::Nvm, services::Services};

/// The application.
#[derive(Default)]
pub struct Piv(());

/// A session.
#[derive(Default)]
pub struct Session(());

impl Piv {
    /// SELECT's answer.
    pub fn select_response() -> Vec<u8> {
        Vec::new()
    }

    /// One command.
    pub fn process(
        &mut self,
        _: &mut Session,
        _: &mut Services<'_>,
        _: &CommandApdu<'_>,
    ) -> Result<Vec<u8>, Status> {
        Err(Status::INSTRUCTION_NOT_SUPPORTED)
    }

    /// One command of the host.
    pub fn command(&mut self, _: Command, _: &mut Services<'_>) -> Result<Answer, Failure> {
        Err(Failure::Malformed)
    }

    /// Well-known secrets.
    pub fn personalise_with_default_keys(&mut self, _: &mut Services<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

/// The credentials in this state.
pub fn credentials(_nvm: &Nvm) -> Vec<Credential> {
    Vec::new()
}
