//! The host's narrow commands: each goes to whom it asks for.

use cardhost_wire::{
    control::{Answer, Command, Failure},
    status::Status,
};

use crate::{configuration, pairing, second, services::Context, uicc};

/// Executes one command of the host.
///
/// # Errors
/// The [`Failure`] that the host is to be told; nothing has changed then but a retry counter.
pub fn execute(command: Command, context: &mut Context<'_>) -> Result<Answer, Failure> {
    match command {
        Command::ReadProtocols => Ok(Answer::Protocols(context.configuration().0.clone())),
        Command::PairProtocols(wanted) => {
            second::provide(&wanted, context)?;
            let (pairing, mut services) = context.configuration();
            configuration::pair(pairing, &mut services, wanted).map(|()| Answer::Done)
        }
        Command::Pairing(command) => pairing::command(command, context),
        Command::PendingSecrets => second::pending_secrets(context),
        Command::AcknowledgeSecrets => second::acknowledge_secrets(context),
        Command::Profile(command) => uicc::command(command, &mut context.uicc()),
        command => {
            let (piv, mut services) = context.piv();
            piv.command(command, &mut services)
        }
    }
}

/// Development only: personalises a new card with the well-known PIN, PUK and keys.
///
/// # Errors
/// See [`execute`].
pub fn personalise_with_default_keys(context: &mut Context<'_>) -> Result<(), Failure> {
    let (piv, mut services) = context.piv();
    piv.personalise_with_default_keys(&mut services)
}

/// What the card could not do with its own state.
pub fn own_state(status: Status) -> Failure {
    match status {
        Status::NOT_ENOUGH_MEMORY => Failure::NoMemory,
        _ => Failure::NotCommitted,
    }
}
