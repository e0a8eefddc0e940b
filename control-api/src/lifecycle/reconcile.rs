//! Reconciliation: what was interrupted is undone or carried forward until host, card and authority agree.

use std::time::Duration;

use tokio::{sync::watch, time};

use super::{
    LifeCycle, LifeCycleError,
    intent::{CreateStep, Intent, Work},
};
use crate::{
    audit::{Action, Entry},
    auth::name::Name,
    authority::{AuthorityError, PairingCa},
    store::{
        cards, intents,
        revocations::{self, Purpose, RevocationRecord, Subject},
    },
};

pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(1);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What a reconciliation left open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    /// Creations, renewals and deletions under way.
    pub intents: usize,
    /// Cards that wait for their destruction.
    pub ending: usize,
    /// Revocations that the authority has yet to make.
    pub revocations: usize,
    /// Rotations of wrapping keys that could not be finished: 0 or 1.
    pub rotations: usize,
}

impl LifeCycle {
    /// Reconciles at once, after failures with growing pauses, and now and then, until `end` turns true.
    pub async fn run(&self, mut end: watch::Receiver<bool>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let settled = self.reconcile().await.is_ok_and(|remaining| remaining == Remaining::default());
            pause = if settled { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            let rest = if settled { LONGEST_PAUSE } else { pause };
            tokio::select! {
                () = self.0.cards.ended() => {}
                () = self.0.unsettled.notified() => {}
                () = time::sleep(rest) => {}
                _ = end.wait_for(|end| *end) => return,
            }
        }
    }

    /// Takes up everything that is open, once; says what is still open then.
    pub async fn reconcile(&self) -> Result<Remaining, LifeCycleError> {
        let rotations = usize::from(!self.finish_rotations().await);
        for card in self.read(cards::ending).await? {
            self.settle_logged(&card.terminal).await;
        }
        for intent in self.read(intents::all).await? {
            self.settle_logged(&intent.terminal).await;
        }
        self.revoke_queued().await?;
        let remaining = Remaining { rotations, ..self.remaining().await? };
        metrics::gauge!("cardhost_intents_open").set(remaining.intents as f64);
        metrics::gauge!("cardhost_revocations_open").set(remaining.revocations as f64);
        Ok(remaining)
    }

    async fn remaining(&self) -> Result<Remaining, LifeCycleError> {
        self.read(|connection| {
            Ok(Remaining {
                intents: intents::all(connection)?.len(),
                ending: cards::ending(connection)?.len(),
                revocations: revocations::queued(connection)?.len(),
                rotations: 0,
            })
        })
        .await
    }

    async fn finish_rotations(&self) -> bool {
        let finished = self.0.keys.finish().await;
        finished.inspect_err(|error| tracing::warn!(%error, "rotations not finished yet")).is_ok()
    }

    async fn settle_logged(&self, terminal: &Name) {
        let _only = self.0.locks.lock(terminal).await;
        if let Err(error) = self.settle(terminal).await {
            tracing::warn!(%terminal, %error, "not reconciled yet");
        }
    }

    /// Takes up what is open for a terminal. Its lock is held.
    pub(super) async fn settle(&self, terminal: &Name) -> Result<(), LifeCycleError> {
        let name = terminal.clone();
        let open = self.read(move |connection| {
            intents::of_terminal(connection, &name)?.into_iter().map(Intent::from_record).collect()
        });
        let open: Vec<Intent> = open.await?;
        for intent in open {
            self.resume(&intent).await?;
        }
        self.destroy_if_ending(terminal, &None).await.map(drop)
    }

    async fn resume(&self, intent: &Intent) -> Result<(), LifeCycleError> {
        tracing::info!(terminal = %intent.terminal, id = %intent.id, "taking up what was interrupted");
        match &intent.body.work {
            Work::Create { step: CreateStep::Issued, key_reference, .. } => {
                self.import(intent, *key_reference).await
            }
            Work::Create { .. } => self.undo(intent).await,
            Work::Renew { certificate, step } => {
                match self.resume_renewal(intent, *certificate, step).await {
                    // The certificate is gone, and what was issued for it is queued for revocation.
                    Err(LifeCycleError::NoCertificate) => Ok(()),
                    other => other,
                }
            }
            Work::Delete { certificate, step } => self.resume_delete(intent, *certificate, step).await,
        }
    }

    async fn revoke_queued(&self) -> Result<(), LifeCycleError> {
        for queued in self.read(revocations::queued).await? {
            if let Err(error) = self.revoke_in_turn(&queued).await {
                tracing::warn!(terminal = %queued.terminal, %error, "not revoked yet");
            }
        }
        Ok(())
    }

    /// What is queued of a pairing key may be about to be used after all: its terminal's lock tells.
    async fn revoke_in_turn(&self, queued: &RevocationRecord) -> Result<(), LifeCycleError> {
        if queued.purpose == Purpose::Credential {
            return self.revoke_now(queued).await;
        }
        let _only = self.0.locks.lock(&queued.terminal).await;
        let id = queued.id;
        match self.read(move |connection| revocations::find_queued(connection, id)).await? {
            Some(queued) => self.revoke_now(&queued).await,
            None => Ok(()),
        }
    }

    async fn revoke_now(&self, queued: &RevocationRecord) -> Result<(), LifeCycleError> {
        match &queued.subject {
            Subject::Certificate(der) => self.revoke_certificate(queued, der).await,
            Subject::Request(request) => self.revoke_request(queued, request).await,
        }
    }

    async fn revoke_certificate(&self, queued: &RevocationRecord, der: &[u8]) -> Result<(), LifeCycleError> {
        match self.0.authority.revoke(der, &queued.reason).await {
            Ok(()) => self.revocation_done(queued, Action::CertificateRevoked).await,
            Err(AuthorityError::Unsupported) => self.leave_to_operator(queued).await,
            Err(error) if error.is_refusal() => self.leave_to_operator(queued).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Asks again: the same request gives the same certificate, which is then revoked.
    async fn revoke_request(&self, queued: &RevocationRecord, request: &[u8]) -> Result<(), LifeCycleError> {
        if !self.0.authority.is_idempotent() {
            return self.leave_to_operator(queued).await;
        }
        let issued = match queued.purpose {
            Purpose::Credential => self.0.authority.enroll(request).await,
            Purpose::CardPairing => self.0.authority.enroll_pairing(PairingCa::Cards, request).await,
            Purpose::TerminalPairing => self.0.authority.enroll_pairing(PairingCa::Terminals, request).await,
        };
        match issued {
            Ok(der) => {
                let (id, resolved) = (queued.id, der.clone());
                self.write(move |transaction, _| revocations::resolve(transaction, id, &resolved)).await?;
                self.revoke_certificate(queued, &der).await
            }
            Err(error) if error.is_refusal() => {
                let id = queued.id;
                self.write(move |transaction, _| revocations::delete(transaction, id).map(drop)).await
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn revocation_done(&self, queued: &RevocationRecord, action: Action) -> Result<(), LifeCycleError> {
        let (id, entry) = (queued.id, about(queued, action));
        self.write(move |transaction, audit| {
            revocations::delete(transaction, id)?;
            audit.append(transaction, &entry)
        })
        .await?;
        match queued.purpose {
            Purpose::Credential => {}
            Purpose::CardPairing => self.0.statuses.forget(),
            Purpose::TerminalPairing => self.0.terminal_revoked.notify_one(),
        }
        Ok(())
    }

    async fn leave_to_operator(&self, queued: &RevocationRecord) -> Result<(), LifeCycleError> {
        let (id, entry) = (queued.id, about(queued, Action::CertificateOrphaned));
        self.write(move |transaction, audit| {
            revocations::mark_orphan(transaction, id)?;
            audit.append(transaction, &entry)
        })
        .await
    }
}

fn about(queued: &RevocationRecord, action: Action) -> Entry {
    let entry = Entry::new(action).terminal(&queued.terminal);
    let entry = entry.detail("revocation", queued.id).detail("reason", &queued.reason);
    entry.detail("purpose", queued.purpose.name())
}
