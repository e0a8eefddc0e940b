//! Renewal of a certificate for the same key.

use cardhost_wire::control::{Answer, Command};
use uuid::Uuid;

use super::{
    By, LifeCycle, LifeCycleError,
    create::entry,
    intent::{Intent, RenewStep, Work},
    view::Certificate,
};
use crate::{
    audit::Action,
    auth::name::Name,
    card::{CardError, Violation},
    store::{
        certificates, intents,
        revocations::{self, Purpose, Reason},
    },
};

impl LifeCycle {
    /// Has a certificate renewed; its identifier stays, the old certificate is revoked as superseded.
    pub async fn renew(&self, terminal: &Name, id: Uuid, by: &Name) -> Result<Certificate, LifeCycleError> {
        let (this, terminal, by) = (self.clone(), terminal.clone(), Some(by.clone()));
        Self::detached(async move { this.renew_now(&terminal, id, by).await }).await
    }

    async fn renew_now(&self, terminal: &Name, id: Uuid, by: By) -> Result<Certificate, LifeCycleError> {
        let _only = self.0.locks.lock(terminal).await;
        self.settle(terminal).await?;
        let certificate = self.find_certificate(terminal, id).await?;
        let command = Command::RenewalRequest(certificate.key_reference);
        let Answer::CertificationRequest(request) = self.0.cards.command(terminal, command, None).await?
        else {
            return Err(CardError::Misbehaved(Violation::Unexpected).into());
        };
        let work = Work::Renew { certificate: id, step: RenewStep::Asking(request.clone()) };
        let intent = Intent::new(Uuid::new_v4(), terminal, &by, work);
        let written = intent.clone();
        self.write(move |transaction, _| written.put(transaction)).await?;
        self.ask_for_renewal(&intent, id, request).await?;
        Ok(Certificate::new(self.find_certificate(terminal, id).await?))
    }

    /// Takes up an interrupted renewal.
    pub(super) async fn resume_renewal(
        &self,
        intent: &Intent,
        certificate: Uuid,
        step: &RenewStep,
    ) -> Result<(), LifeCycleError> {
        match step {
            RenewStep::Asking(request) => self.ask_again(intent, certificate, request).await,
            RenewStep::Issued(der) => self.adopt(intent, certificate, der.clone()).await,
        }
    }

    /// The authority may have renewed already: only its refusal ends this.
    async fn ask_again(
        &self,
        intent: &Intent,
        certificate: Uuid,
        request: &[u8],
    ) -> Result<(), LifeCycleError> {
        if !self.0.authority.is_idempotent() {
            return self.drop_renewal(intent, Some(request.into())).await;
        }
        match self.0.authority.reenroll(request).await {
            Ok(der) => self.renewed(intent, certificate, der).await,
            Err(error) if error.is_refusal() => self.drop_renewal(intent, None).await,
            Err(error) => Err(error.into()),
        }
    }

    async fn renewed(&self, intent: &Intent, certificate: Uuid, der: Vec<u8>) -> Result<(), LifeCycleError> {
        let issued = intent.at(Work::Renew { certificate, step: RenewStep::Issued(der.clone()) });
        self.write(move |transaction, _| issued.put(transaction)).await?;
        self.adopt(intent, certificate, der).await
    }

    async fn ask_for_renewal(
        &self,
        intent: &Intent,
        certificate: Uuid,
        request: Vec<u8>,
    ) -> Result<(), LifeCycleError> {
        match self.0.authority.reenroll(&request).await {
            Ok(der) => {
                let renewed = self.renewed(intent, certificate, der).await;
                renewed.map_err(|error| self.carried_forward(error))
            }
            Err(error) if error.may_have_had_effect() && self.0.authority.is_idempotent() => {
                Err(self.carried_forward(error.into()))
            }
            Err(error) => {
                let request = error.may_have_had_effect().then_some(request);
                self.drop_renewal(intent, request).await?;
                Err(error.into())
            }
        }
    }

    /// Nothing changes; what a foreign CA may have issued is left to the operator.
    async fn drop_renewal(&self, intent: &Intent, request: Option<Vec<u8>>) -> Result<(), LifeCycleError> {
        let (id, terminal) = (intent.id, intent.terminal.clone());
        self.write(move |transaction, _| {
            if let Some(request) = request {
                revocations::queue_request(transaction, &terminal, Purpose::Credential, &request)?;
            }
            intents::delete(transaction, id)
        })
        .await
    }

    async fn adopt(&self, intent: &Intent, certificate: Uuid, der: Vec<u8>) -> Result<(), LifeCycleError> {
        let old = match self.find_certificate(&intent.terminal, certificate).await {
            Ok(old) => old,
            // Its key is gone meanwhile: the new certificate must go as well.
            Err(LifeCycleError::NoCertificate) => return self.discard(intent, der).await,
            Err(error) => return Err(error),
        };
        let command =
            Command::ImportCertificate { key_reference: old.key_reference, certificate: der.clone() };
        self.0.cards.command(&intent.terminal, command, None).await?;
        let (id, terminal) = (intent.id, intent.terminal.clone());
        let entry = entry(Action::CertificateRenewed, intent);
        self.write(move |transaction, audit| {
            let lost = if certificates::replace(transaction, certificate, &der)? { old.der } else { der };
            revocations::queue_certificate(
                transaction,
                &terminal,
                Purpose::Credential,
                &lost,
                Reason::Superseded,
            )?;
            intents::delete(transaction, id)?;
            audit.append(transaction, &entry)
        })
        .await?;
        self.0.unsettled.notify_one();
        Ok(())
    }

    async fn discard(&self, intent: &Intent, der: Vec<u8>) -> Result<(), LifeCycleError> {
        let (id, terminal) = (intent.id, intent.terminal.clone());
        self.write(move |transaction, _| {
            let reason = Reason::CessationOfOperation;
            revocations::queue_certificate(transaction, &terminal, Purpose::Credential, &der, reason)?;
            intents::delete(transaction, id)
        })
        .await?;
        self.0.unsettled.notify_one();
        Err(LifeCycleError::NoCertificate)
    }
}
