//! The host's narrow commands: each goes to the application that owns what it asks for.

use cardhost_wire::control::{Answer, Command, Failure};

use crate::services::Context;

/// Executes one command of the host.
///
/// # Errors
/// The [`Failure`] that the host is to be told; nothing has changed then but a retry counter.
pub fn execute(command: Command, context: &mut Context<'_>) -> Result<Answer, Failure> {
    context.piv.command(command, &mut context.services)
}

/// Development only: personalises a new card with the well-known PIN, PUK and keys.
///
/// # Errors
/// See [`execute`].
pub fn personalise_with_default_keys(context: &mut Context<'_>) -> Result<(), Failure> {
    context.piv.personalise_with_default_keys(&mut context.services)
}
