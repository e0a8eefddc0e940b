//! Authentication of a terminal by its card.

use cardhost_wire::{
    control::{Answer, Command},
    key::{KeyReference, Secret},
};
use uuid::Uuid;

use super::{LifeCycle, LifeCycleError};
use crate::{
    audit::{Action, Entry},
    auth::name::Name,
    authority::Verdict,
    card::{CardError, Violation},
    store::certificates::{self, CertificateRecord},
};

/// The authority's decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The certificate that was used.
    pub certificate: Uuid,
    /// Success, or failure with its reason.
    pub verdict: Verdict,
}

impl LifeCycle {
    /// Has the card sign the authority's fresh challenge and the authority decide.
    ///
    /// Without a certificate named, the one of the slot that needs no PIN is used, else the first.
    pub async fn authenticate(
        &self,
        terminal: &Name,
        certificate: Option<Uuid>,
        pin: Option<Secret>,
        by: &Name,
    ) -> Result<Outcome, LifeCycleError> {
        let certificate = self.choose(terminal, certificate).await?;
        let challenge = self.0.authority.challenge().await?;
        let command = Command::SignChallenge {
            key_reference: certificate.key_reference,
            challenge: challenge.bytes,
            pin,
        };
        let Answer::Signature { signature, .. } = self.0.cards.command(terminal, command, None).await? else {
            return Err(CardError::Misbehaved(Violation::Unexpected).into());
        };
        let verdict = self.0.authority.verify(challenge, &certificate.der, &signature).await?;
        self.note_authentication(terminal, certificate.id, &verdict, by).await?;
        Ok(Outcome { certificate: certificate.id, verdict })
    }

    async fn choose(&self, terminal: &Name, id: Option<Uuid>) -> Result<CertificateRecord, LifeCycleError> {
        if let Some(id) = id {
            return self.find_certificate(terminal, id).await;
        }
        let name = terminal.clone();
        let mut all = self.read(move |connection| certificates::of_terminal(connection, &name)).await?;
        all.sort_by_key(|certificate| certificate.key_reference != KeyReference::CARD_AUTHENTICATION);
        all.into_iter().next().ok_or(LifeCycleError::NoCertificate)
    }

    async fn note_authentication(
        &self,
        terminal: &Name,
        certificate: Uuid,
        verdict: &Verdict,
        by: &Name,
    ) -> Result<(), LifeCycleError> {
        let result = match verdict {
            Verdict::Success => "success",
            Verdict::Failure { reason } => reason,
        };
        let entry = Entry::new(Action::Authentication).terminal(terminal).user(by);
        let entry = entry.detail("certificate", certificate).detail("result", result);
        self.write(move |transaction, audit| audit.append(transaction, &entry)).await
    }
}
