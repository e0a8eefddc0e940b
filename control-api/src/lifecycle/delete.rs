//! Deletion of a certificate and its key.

use cardhost_wire::{control::Command, key::KeyReference};
use uuid::Uuid;

use super::{
    By, Deleted, LifeCycle, LifeCycleError,
    create::entry,
    intent::{DeleteStep, Intent, Work},
};
use crate::{
    audit::{Action, Receipt},
    auth::name::Name,
    store::{
        cards,
        certificates::{self, CertificateRecord},
        intents,
        revocations::Reason,
    },
};

impl LifeCycle {
    /// Revokes a certificate and erases its key; with the last credential the card goes too.
    ///
    /// Where the authority does not revoke, `revoked_elsewhere` states that the operator had it revoked there.
    pub async fn delete(
        &self,
        terminal: &Name,
        id: Uuid,
        revoked_elsewhere: bool,
        by: &Name,
    ) -> Result<Deleted, LifeCycleError> {
        let (this, terminal, by) = (self.clone(), terminal.clone(), Some(by.clone()));
        Self::detached(async move { this.delete_now(&terminal, id, revoked_elsewhere, by).await }).await
    }

    async fn delete_now(
        &self,
        terminal: &Name,
        id: Uuid,
        revoked_elsewhere: bool,
        by: By,
    ) -> Result<Deleted, LifeCycleError> {
        let _only = self.0.locks.lock(terminal).await;
        self.settle(terminal).await?;
        let certificate = self.find_certificate(terminal, id).await?;
        let revokes = self.0.authority.revokes();
        if !revokes && !revoked_elsewhere {
            return Err(LifeCycleError::RevokeElsewhere);
        }
        let work = Work::Delete { certificate: id, step: DeleteStep::Revoking };
        let intent = Intent::new(Uuid::new_v4(), terminal, &by, work);
        let written = intent.clone();
        self.write(move |transaction, _| written.put(transaction)).await?;
        if revokes {
            self.revoke(&intent, &certificate).await?;
        }
        let receipt =
            self.revoked(&intent, &certificate).await.map_err(|error| self.carried_forward(error))?;
        Ok(Deleted { revoked: revokes, card_destroyed: receipt.is_some(), receipt })
    }

    /// Has it revoked; a lost answer is asked for once more before the rest is left to the reconciliation.
    async fn revoke(&self, intent: &Intent, certificate: &CertificateRecord) -> Result<(), LifeCycleError> {
        let reason = Reason::CessationOfOperation.name();
        let mut result = self.0.authority.revoke(&certificate.der, reason).await;
        let asked_before = result.as_ref().is_err_and(|error| error.may_have_had_effect());
        if asked_before {
            result = self.0.authority.revoke(&certificate.der, reason).await;
        }
        match result {
            Ok(()) => Ok(()),
            Err(error) if error.is_refusal() || !(asked_before || error.may_have_had_effect()) => {
                let id = intent.id;
                self.write(move |transaction, _| intents::delete(transaction, id)).await?;
                Err(error.into())
            }
            Err(error) => Err(self.carried_forward(error.into())),
        }
    }

    /// Takes up an interrupted deletion. What the authority now refuses it has not done before either.
    pub(super) async fn resume_delete(
        &self,
        intent: &Intent,
        certificate: Uuid,
        step: &DeleteStep,
    ) -> Result<(), LifeCycleError> {
        match step {
            DeleteStep::Erasing { key_reference, public_key } => {
                self.erase(intent, *key_reference, *public_key).await.map(drop)
            }
            DeleteStep::Revoking => match self.find_certificate(&intent.terminal, certificate).await {
                Ok(certificate) => self.resume_revoking(intent, &certificate).await,
                // Its key was deleted by APDU meanwhile, which queued its revocation.
                Err(LifeCycleError::NoCertificate) => {
                    self.finish(intent, entry(Action::CertificateDeleted, intent)).await
                }
                Err(error) => Err(error),
            },
        }
    }

    async fn resume_revoking(
        &self,
        intent: &Intent,
        certificate: &CertificateRecord,
    ) -> Result<(), LifeCycleError> {
        if self.0.authority.revokes() {
            let revoked =
                self.0.authority.revoke(&certificate.der, Reason::CessationOfOperation.name()).await;
            match revoked {
                Ok(()) => {}
                Err(error) if error.is_refusal() => {
                    tracing::warn!(%error, "a deletion is cancelled");
                    let id = intent.id;
                    return self.write(move |transaction, _| intents::delete(transaction, id)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.revoked(intent, certificate).await.map(drop)
    }

    /// From the revocation on there is no way back.
    async fn revoked(
        &self,
        intent: &Intent,
        certificate: &CertificateRecord,
    ) -> Result<Option<Receipt>, LifeCycleError> {
        let (key_reference, public_key) = (certificate.key_reference, certificate.public_key);
        let step = DeleteStep::Erasing { key_reference, public_key };
        let erasing = intent.at(Work::Delete { certificate: certificate.id, step });
        let id = certificate.id;
        self.write(move |transaction, _| {
            certificates::delete(transaction, id)?;
            erasing.put(transaction)
        })
        .await?;
        self.erase(intent, key_reference, public_key).await
    }

    async fn erase(
        &self,
        intent: &Intent,
        slot: KeyReference,
        public_key: [u8; 32],
    ) -> Result<Option<Receipt>, LifeCycleError> {
        let terminal = &intent.terminal;
        if self.holds(terminal, slot, public_key).await? {
            self.0.cards.command(terminal, Command::DeleteCredential(slot), None).await?;
        }
        let entry = entry(Action::CertificateDeleted, intent).detail("key-reference", slot);
        self.finish(intent, entry).await?;
        self.destroy_if_ending(terminal, &intent.body.by).await
    }

    /// True if the slot still holds this very key.
    async fn holds(
        &self,
        terminal: &Name,
        slot: KeyReference,
        public_key: [u8; 32],
    ) -> Result<bool, LifeCycleError> {
        let Some(card) = self.card_of(terminal).await? else { return Ok(false) };
        let keys = self.read(move |connection| cards::keys(connection, &card.card)).await?;
        Ok(keys.iter().any(|held| held.key_reference == slot && held.public_key == public_key))
    }

    pub(super) async fn find_certificate(
        &self,
        terminal: &Name,
        id: Uuid,
    ) -> Result<CertificateRecord, LifeCycleError> {
        let terminal = terminal.clone();
        let found = self.read(move |connection| certificates::find(connection, &terminal, id)).await?;
        found.ok_or(LifeCycleError::NoCertificate)
    }
}
