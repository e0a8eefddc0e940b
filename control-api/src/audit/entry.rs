//! What an audit entry says.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::auth::name::Name;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A user was made or changed.
    UserPut,
    /// A user was removed.
    UserDeleted,
    /// A terminal was made or assigned.
    TerminalPut,
    /// A terminal was removed.
    TerminalDeleted,
    /// A device of a terminal was enrolled.
    DeviceEnrolled,
    /// A device of a terminal was removed.
    DeviceDeleted,
    /// A card was made.
    CardCreated,
    /// An operator parked a card.
    CardParked,
    /// An operator woke a card.
    CardWoken,
    /// An operator paired a card's protocols with its containers anew.
    CardPaired,
    /// The authority certified a card's key to pair with terminals.
    CardCertified,
    /// The authority renewed the certificate of a card's key to pair with terminals.
    CardCertificateRenewed,
    /// An operator had the certificate of a card's key to pair with terminals revoked.
    CardRevoked,
    /// An operator said what terminals that are not paired may do with a card.
    PairingPolicySet,
    /// A pairing of a card with a terminal was ended.
    PairingDeleted,
    /// A card was destroyed.
    CardDestroyed,
    /// An older state of a card was put back: the card is refused.
    CardRolledBack,
    /// An operator accepted the present state of a card that was refused.
    CardRestored,
    /// An operator allowed the host's guest image for a card.
    CardImageAllowed,
    /// The host's guest image wrote a card's state for the first time; the one that wrote it before is left behind.
    CardAdopted,
    /// Cards that the anchor knows are missing from the store.
    CardsMissing,
    /// An operator accepted a new anchor in the place of one that was missing or did not fit.
    AnchorReplaced,
    /// A certificate was issued and stored in the card.
    CertificateCreated,
    /// The creation of a certificate was undone.
    CertificateUndone,
    /// A certificate was renewed.
    CertificateRenewed,
    /// A certificate was revoked and deleted with its key.
    CertificateDeleted,
    /// The authority revoked a certificate whose key was gone already.
    CertificateRevoked,
    /// An operator has to revoke a certificate where it was issued.
    CertificateOrphaned,
    /// The authority decided on an authentication.
    Authentication,
    /// An operator began to replace every key that wraps card keys.
    HostKeyRotationBegun,
    /// Every such key was replaced.
    HostKeyRotated,
    /// An operator installed an eUICC profile on a card.
    ProfileInstalled,
    /// An operator deleted an eUICC profile from a card.
    ProfileDeleted,
    /// The user took the card's first secrets.
    SecretsAcknowledged,
}

/// An audit entry. Fields stand in the order of their names: that makes its JSON canonical.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What happened.
    pub action: Action,
    /// Further facts by name; never a secret.
    pub detail: BTreeMap<String, String>,
    /// The terminal it concerns.
    pub terminal: Option<Name>,
    /// When, RFC 3339.
    pub time: Timestamp,
    /// The user who asked for it; none if the host did it by itself.
    pub user: Option<Name>,
}

impl Entry {
    /// An entry of now.
    pub fn new(action: Action) -> Self {
        Self { action, detail: BTreeMap::new(), terminal: None, time: Timestamp::now(), user: None }
    }

    /// Names the terminal.
    pub fn terminal(mut self, terminal: &Name) -> Self {
        self.terminal = Some(terminal.clone());
        self
    }

    /// Names the user.
    pub fn user(mut self, user: &Name) -> Self {
        self.user = Some(user.clone());
        self
    }

    /// Adds a fact.
    pub fn detail(mut self, name: &str, value: impl ToString) -> Self {
        self.detail.insert(name.into(), value.to_string());
        self
    }

    /// The entry as it is hashed.
    pub fn canonical(&self) -> String {
        serde_json::to_string(self).expect("names and texts are JSON")
    }
}
