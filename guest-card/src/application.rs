//! The interface between the session layer and an application.

use alloc::vec::Vec;

use cardhost_wire::{apdu::CommandApdu, status::Status};

use crate::services::Services;

/// An application's session: its state from selection until it is deselected, on one logical channel.
///
/// The session layer has resolved command chaining and will cut the answer by Le; class bits for chaining and
/// the logical channel are cleared.
pub trait Application {
    /// The application is selected, anew or again: session state is cleared. Returns the SELECT response data.
    ///
    /// # Errors
    /// A status word for the terminal.
    fn select(&mut self, services: &mut Services<'_>) -> Result<Vec<u8>, Status>;

    /// Executes one command and returns the response data.
    ///
    /// # Errors
    /// A status word for the terminal.
    fn execute(&mut self, command: &CommandApdu<'_>, services: &mut Services<'_>) -> Result<Vec<u8>, Status>;
}
