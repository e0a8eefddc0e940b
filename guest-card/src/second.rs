//! The first keys of the second secure element: made when a protocol is first paired with it, and told with the card's
//! other first secrets until they are acknowledged.

use cardhost_wire::{
    control::{Answer, Command, Failure},
    protocols::{Container, ProtocolPairing},
};

use crate::{
    control::own_state,
    isd::{key_set::StoredKeySet, personalisation},
    services::Context,
};

/// Provides the keys if the pairing needs them. What it did stays, also if the pairing is not made after all.
///
/// # Errors
/// [`Failure::NoMemory`] or [`Failure::NotCommitted`].
pub fn provide(wanted: &ProtocolPairing, context: &mut Context<'_>) -> Result<(), Failure> {
    if !wanted.is_valid() || !wanted.names(Container::SecondSecureElement) {
        return Ok(());
    }
    personalisation::provide(&mut context.second_secure_element()).map_err(own_state)
}

/// The card's first secrets, these keys among them.
///
/// # Errors
/// [`Failure::NoSecrets`]: none wait.
pub fn pending_secrets(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let second = pending(context)?.map(|set| set.concatenated());
    let (piv, mut services) = context.piv();
    match (piv.command(Command::PendingSecrets, &mut services), second) {
        (Ok(Answer::Secrets { pin, puk, management_key, security_domain_keys, .. }), second) => {
            let second_security_domain_keys = second;
            Ok(Answer::Secrets {
                pin,
                puk,
                management_key,
                security_domain_keys,
                second_security_domain_keys,
            })
        }
        (Err(Failure::NoSecrets), second @ Some(_)) => Ok(Answer::Secrets {
            pin: None,
            puk: None,
            management_key: None,
            security_domain_keys: None,
            second_security_domain_keys: second,
        }),
        (other, _) => other,
    }
}

/// Erases the copies kept for delivery, those of the secure element first. Asked again, it goes on.
///
/// # Errors
/// [`Failure::NoSecrets`]: none wait; [`Failure::NotCommitted`].
pub fn acknowledge_secrets(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let second = pending(context)?.is_some();
    let (piv, mut services) = context.piv();
    match piv.command(Command::AcknowledgeSecrets, &mut services) {
        Ok(_) | Err(Failure::NoSecrets) if second => {
            let acknowledged = personalisation::acknowledged();
            context.second_secure_element().commit(acknowledged).map_err(own_state)?;
            Ok(Answer::Done)
        }
        other => other,
    }
}

fn pending(context: &Context<'_>) -> Result<Option<StoredKeySet>, Failure> {
    personalisation::pending(context.second_nvm()).map_err(own_state)
}
