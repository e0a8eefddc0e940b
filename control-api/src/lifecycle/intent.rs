//! What was begun and how far it is, as it is written down.

use cardhost_wire::key::{Algorithm, KeyReference};
use rusqlite::{Transaction, types::FromSqlError};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::By;
use crate::{
    auth::name::Name,
    store::intents::{self, IntentRecord},
};

/// An intent with its place.
#[derive(Clone, Debug)]
pub(super) struct Intent {
    /// Its identifier; a creation's is the certificate's too.
    pub(super) id: Uuid,
    pub(super) terminal: Name,
    pub(super) body: Body,
}

/// What is under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Body {
    /// Who asked for it.
    pub(super) by: By,
    pub(super) work: Work,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Work {
    Create { key_reference: KeyReference, algorithm: Algorithm, step: CreateStep },
    Renew { certificate: Uuid, step: RenewStep },
    Delete { certificate: Uuid, step: DeleteStep },
}

/// How far a creation is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum CreateStep {
    /// Nothing has left the host; card and key may exist.
    Planned,
    /// The authority may have issued on this request (DER).
    Enrolling(#[serde(with = "hex")] Vec<u8>),
    /// The certificate is in the store.
    Issued,
    /// Failed; what is left of it is being removed.
    Undoing,
}

/// How far a renewal is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum RenewStep {
    /// The authority may have issued on this request (DER).
    Asking(#[serde(with = "hex")] Vec<u8>),
    /// The new certificate (DER) is here.
    Issued(#[serde(with = "hex")] Vec<u8>),
}

/// How far a deletion is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum DeleteStep {
    /// The authority may have revoked.
    Revoking,
    /// It is revoked and out of the store; the key is still to be erased, if it is this one.
    Erasing {
        key_reference: KeyReference,
        #[serde(with = "hex")]
        public_key: [u8; 32],
    },
}

impl Intent {
    pub(super) fn new(id: Uuid, terminal: &Name, by: &By, work: Work) -> Self {
        Self { id, terminal: terminal.clone(), body: Body { by: by.clone(), work } }
    }

    /// The certificate that it is about.
    pub(super) const fn certificate(&self) -> Uuid {
        match self.body.work {
            Work::Create { .. } => self.id,
            Work::Renew { certificate, .. } | Work::Delete { certificate, .. } => certificate,
        }
    }

    /// Reads what was written down.
    pub(super) fn from_record(record: IntentRecord) -> rusqlite::Result<Self> {
        let body = serde_json::from_str(&record.body).map_err(FromSqlError::other)?;
        Ok(Self { id: record.id, terminal: record.terminal, body })
    }

    /// The same, one step further.
    pub(super) fn at(&self, work: Work) -> Self {
        Self { body: Body { work, ..self.body.clone() }, ..self.clone() }
    }

    /// Writes it down.
    pub(super) fn put(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let body = serde_json::to_string(&self.body).expect("names and numbers are JSON");
        intents::put(transaction, &IntentRecord { id: self.id, terminal: self.terminal.clone(), body })
    }
}
