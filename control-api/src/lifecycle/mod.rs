//! The life of a certificate and of the card that holds its key.
//!
//! ```text
//! create   planned ──▶ enrolling(request) ──▶ issued ──▶ (done)      delete   revoking ──▶ erasing ──▶ (done)
//!             │             │ refused,           │ forward:                      │ refused, not      │ forward:
//!             │             │ lost               │ import                        │ sent: cancelled   │ erase
//!             └──▶ undoing ◀┘                                                    │ lost: ask again
//!                   erase the key, destroy the card if it is empty,
//!                   queue what the authority may have issued for revocation
//!
//! renew    asking(request) ──▶ issued(certificate) ──▶ (done)
//!             │ refused: dropped    │ forward: import
//!             │ lost: ask again
//! ```
//!
//! The card's pairing key is certified on the way from planned to enrolling. Each step is durable before its remote part begins; [`LifeCycle::reconcile`] takes up what was interrupted,
//! at the start, after failures, and now and then. Work on one terminal happens one after the other. It goes
//! on when the caller goes away.

mod authenticate;
mod card_status;
mod create;
mod delete;
mod destroy;
mod host_key;
mod intent;
mod locks;
mod pairing;
mod pairing_renewal;
mod profiles;
mod reconcile;
mod renew;
mod revocation_list;
mod secrets;
mod view;

use std::sync::Arc;

use cardhost_wire::{
    control::Failure,
    key::{Algorithm, KeyReference, Secret},
};
use rusqlite::Transaction;
use tokio::sync::Notify;
use uuid::Uuid;

pub use authenticate::Outcome;
pub use create::pem;
pub use host_key::Rotation;
pub use pairing::PairingCertificate;
pub use reconcile::Remaining;
pub use secrets::Secrets;
pub use view::{Certificate, Orphan};

use crate::{
    audit::{Audit, Receipt},
    auth::name::Name,
    authority::{Authority, AuthorityError},
    card::{CardError, Cards},
    store::{Store, StoreError, quotas::Quotas},
    wrapping::{WrappingError, WrappingKeys},
};
use card_status::Statuses;
use host_key::HostKeyRotation;
use locks::Locks;

/// What a new certificate is to be.
#[derive(Debug)]
pub struct CreateCertificate {
    /// The slot, which must be empty.
    pub key_reference: KeyReference,
    /// The key's algorithm.
    pub algorithm: Algorithm,
    /// The subject as RFC 4514 writes it; `CN=` and the terminal's name if none.
    pub subject: Option<String>,
    /// The first PIN of a card that this makes.
    pub pin: Option<Secret>,
    /// Its first PUK.
    pub puk: Option<Secret>,
    /// Its first management key.
    pub management_key: Option<Secret>,
}

/// A certificate that was made.
#[derive(Debug)]
pub struct Created {
    /// The certificate's identifier.
    pub id: Uuid,
    /// Its slot.
    pub key_reference: KeyReference,
    /// The certificate.
    pub pem: String,
    /// True if the card was made for it.
    pub card_created: bool,
    /// The secrets that the card made itself, with the first certificate.
    pub secrets: Option<Secrets>,
}

/// A certificate that was deleted.
#[derive(Clone, Debug)]
pub struct Deleted {
    /// True if the authority revoked it now; false if the operator says that it was revoked elsewhere.
    pub revoked: bool,
    /// True if it was the last credential and the card is gone.
    pub card_destroyed: bool,
    /// The receipt of the card's destruction.
    pub receipt: Option<Receipt>,
}

/// Why something about a certificate was not done.
#[derive(Debug, thiserror::Error)]
pub enum LifeCycleError {
    /// The terminal has no such certificate.
    #[error("the terminal has no such certificate")]
    NoCertificate,
    /// The slot holds a key.
    #[error("key reference {0} holds a key")]
    SlotOccupied(KeyReference),
    /// There are as many cards as there may be.
    #[error("there are {0} cards, as many as this host may have")]
    TooManyCards(u32),
    /// The terminal's user has as many cards as one may have.
    #[error("the terminal's user has {0} cards, as many as one may have")]
    TooManyCardsOfUser(u32),
    /// PIN, PUK or management key were given for a card that has its own.
    #[error("the card was personalised before: its secrets are not set again")]
    AlreadyPersonalised,
    /// The subject is not a distinguished name.
    #[error("the subject is not a distinguished name of RFC 4514")]
    MalformedSubject,
    /// There are no secrets to fetch, or they were acknowledged.
    #[error("the card has no secrets to deliver")]
    NoSecrets,
    /// The key needs the PIN.
    #[error("the key needs the PIN")]
    PinRequired,
    /// The PIN is wrong.
    #[error("the PIN is wrong; {0} tries remain")]
    PinWrong(u8),
    /// The PIN is blocked.
    #[error("the PIN is blocked")]
    PinBlocked,
    /// This authority does not revoke: an operator must do it there and say so.
    #[error("the authority offers no revocation: revoke the certificate there and state it")]
    RevokeElsewhere,
    /// The authority refused or cannot be reached.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The card.
    #[error(transparent)]
    Card(CardError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The wrapping keys.
    #[error(transparent)]
    Wrapping(#[from] WrappingError),
    /// It was begun and will be finished, but not within this request.
    #[error("it is not finished yet and is carried forward")]
    CarriedForward(#[source] Box<LifeCycleError>),
    /// The host broke off.
    #[error("the host broke off")]
    Abandoned,
}

impl From<CardError> for LifeCycleError {
    fn from(error: CardError) -> Self {
        match error {
            CardError::Declined(Failure::PinRequired) => Self::PinRequired,
            CardError::Declined(Failure::PinWrong(remaining)) => Self::PinWrong(remaining),
            CardError::Declined(Failure::PinBlocked) => Self::PinBlocked,
            CardError::Declined(Failure::NoSecrets) => Self::NoSecrets,
            CardError::Declined(Failure::AlreadyPersonalised) => Self::AlreadyPersonalised,
            CardError::Store(error) => Self::Store(error),
            error => Self::Card(error),
        }
    }
}

/// The life cycle of certificates and cards. Cloning gives another handle of the same.
#[derive(Clone)]
pub struct LifeCycle(Arc<Inner>);

struct Inner {
    store: Store,
    cards: Cards,
    keys: WrappingKeys,
    rotation: HostKeyRotation,
    authority: Authority,
    audit: Audit,
    locks: Locks,
    unsettled: Notify,
    /// The authority revoked a terminal's pairing certificate.
    terminal_revoked: Notify,
    statuses: Statuses,
    quotas: Quotas,
    default_keys: bool,
}

impl LifeCycle {
    /// The life cycle over these parts. `default_keys` as the launcher was told.
    pub fn new(
        store: Store,
        cards: Cards,
        authority: Authority,
        audit: Audit,
        quotas: Quotas,
        default_keys: bool,
    ) -> Self {
        let (locks, unsettled, terminal_revoked) = (Locks::default(), Notify::new(), Notify::new());
        let keys = WrappingKeys::new(store.clone(), cards.launcher().clone());
        let rotation = HostKeyRotation::default();
        Self(Arc::new(Inner {
            store,
            cards,
            keys,
            rotation,
            authority,
            audit,
            locks,
            unsettled,
            terminal_revoked,
            statuses: Statuses::default(),
            quotas,
            default_keys,
        }))
    }

    /// The cards.
    pub fn cards(&self) -> &Cards {
        &self.0.cards
    }

    /// The wrapping keys.
    pub fn keys(&self) -> &WrappingKeys {
        &self.0.keys
    }

    /// The audit log.
    pub fn audit(&self) -> &Audit {
        &self.0.audit
    }

    /// The authority.
    pub fn authority(&self) -> &Authority {
        &self.0.authority
    }

    /// Runs work to its end even if the caller goes away meanwhile.
    async fn detached<T: Send + 'static>(
        work: impl Future<Output = Result<T, LifeCycleError>> + Send + 'static,
    ) -> Result<T, LifeCycleError> {
        let work = tokio::spawn(tracing::Instrument::in_current_span(work));
        work.await.map_err(|_| LifeCycleError::Abandoned)?
    }

    async fn write(
        &self,
        work: impl FnOnce(&Transaction<'_>, &Audit) -> rusqlite::Result<()> + Send + 'static,
    ) -> Result<(), LifeCycleError> {
        let audit = self.0.audit.clone();
        Ok(self.0.store.write(move |transaction| work(transaction, &audit)).await?)
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LifeCycleError> {
        Ok(self.0.store.read(work).await?)
    }

    /// Something waits for the reconciliation.
    pub fn unsettle(&self) {
        self.0.unsettled.notify_one();
    }

    /// What was begun stays begun: the reconciliation is told, and so is the caller.
    fn carried_forward(&self, error: LifeCycleError) -> LifeCycleError {
        tracing::warn!(%error, "carried forward");
        self.unsettle();
        LifeCycleError::CarriedForward(Box::new(error))
    }
}

/// A user's name for the audit log, `None` for the host itself.
type By = Option<Name>;
