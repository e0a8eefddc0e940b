//! The first secrets of a card that the card made itself.

use cardhost_wire::{
    control::{Answer, Command},
    key::Secret,
};

use super::{LifeCycle, LifeCycleError};
use crate::{
    audit::{Action, Entry},
    auth::name::Name,
    card::{CardError, Violation},
};

/// Secrets; `None` where the caller chose it.
#[derive(Debug)]
pub struct Secrets {
    /// The PIN, ASCII digits.
    pub pin: Option<Secret>,
    /// The PUK, ASCII digits.
    pub puk: Option<Secret>,
    /// The management key.
    pub management_key: Option<Secret>,
    /// ENC, MAC and DEK of the issuer security domain's first key set; nobody chooses it.
    pub security_domain_keys: Option<Secret>,
    /// The same of the second secure element, once a protocol was paired with it.
    pub second_security_domain_keys: Option<Secret>,
}

impl LifeCycle {
    /// The secrets that the card made, as often as asked until they are acknowledged.
    pub async fn secrets(&self, terminal: &Name) -> Result<Secrets, LifeCycleError> {
        match self.0.cards.command(terminal, Command::PendingSecrets, None).await? {
            Answer::Secrets {
                pin,
                puk,
                management_key,
                security_domain_keys,
                second_security_domain_keys,
            } => Ok(Secrets { pin, puk, management_key, security_domain_keys, second_security_domain_keys }),
            _ => Err(CardError::Misbehaved(Violation::Unexpected).into()),
        }
    }

    /// The user has the secrets: the card erases its copies and never tells them again.
    pub async fn acknowledge_secrets(&self, terminal: &Name, by: &Name) -> Result<(), LifeCycleError> {
        self.0.cards.command(terminal, Command::AcknowledgeSecrets, None).await?;
        let entry = Entry::new(Action::SecretsAcknowledged).terminal(terminal).user(by);
        self.write(move |transaction, audit| audit.append(transaction, &entry)).await
    }

    /// Secrets to go with the first certificate, if the card made any.
    pub(super) async fn first_secrets(&self, terminal: &Name) -> Result<Option<Secrets>, LifeCycleError> {
        match self.secrets(terminal).await {
            Ok(secrets) => Ok(Some(secrets)),
            Err(LifeCycleError::NoSecrets) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives a new card its secrets; with `default_keys` it was born with the well-known ones.
    pub(super) async fn personalise(
        &self,
        terminal: &Name,
        personalise: Command,
    ) -> Result<(), LifeCycleError> {
        let nothing_chosen =
            matches!(personalise, Command::Personalise { pin: None, puk: None, management_key: None });
        if self.0.default_keys && nothing_chosen {
            return Ok(());
        }
        self.0.cards.command(terminal, personalise, None).await?;
        Ok(())
    }
}
