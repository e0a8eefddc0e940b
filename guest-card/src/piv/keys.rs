//! Key records, and the few keys that stay parsed.

use alloc::{collections::VecDeque, rc::Rc, vec::Vec};

use cardhost_wire::{
    key::{Algorithm, KeyReference, Secret},
    status::Status,
};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use super::record;
use crate::{
    crypto::{CryptoError, PrivateKey, PublicKey},
    nvm::{Part, RecordName},
};

/// The attestation key (Yubico).
pub(super) const ATTESTATION: KeyReference = KeyReference(0xF9);

/// When a key wants the PIN (values as in Yubico's tag AA).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PinPolicy {
    /// Without PIN.
    Never,
    /// Once in a session.
    Once,
    /// Right before each use.
    Always,
}

impl PinPolicy {
    /// What SP 800-73-5, part 1, table 4b says for a slot.
    pub const fn of_slot(reference: KeyReference) -> Self {
        match reference {
            KeyReference::SIGNATURE => Self::Always,
            KeyReference::CARD_AUTHENTICATION | ATTESTATION => Self::Never,
            _ => Self::Once,
        }
    }

    /// The value of Yubico's tag AA.
    pub const fn value(self) -> u8 {
        match self {
            Self::Never => 1,
            Self::Once => 2,
            Self::Always => 3,
        }
    }
}

/// Where a key was born.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// In this card.
    Generated,
    /// Elsewhere.
    Imported,
}

impl Origin {
    /// The value of Yubico's metadata tag 03.
    pub const fn value(self) -> u8 {
        match self {
            Self::Generated => 1,
            Self::Imported => 2,
        }
    }
}

/// A key at rest. The public half is kept beside the private one: listing credentials must cost no arithmetic.
#[derive(Serialize, Deserialize)]
pub struct KeyRecord {
    algorithm: Algorithm,
    pin_policy: PinPolicy,
    origin: Origin,
    public: Vec<u8>,
    private: Secret,
}

impl KeyRecord {
    /// The record of a key made here.
    pub(super) fn generated(key: &PrivateKey, pin_policy: PinPolicy) -> Self {
        let public = key.public_key().as_bytes().to_vec();
        let private = Secret(key.to_bytes().to_vec());
        Self { algorithm: key.algorithm(), pin_policy, origin: Origin::Generated, public, private }
    }

    /// Reads the key in a slot.
    pub(super) fn load(nvm: Part<'_>, reference: KeyReference) -> Result<Option<Self>, Status> {
        record::load(nvm, record::key(reference))
    }

    /// The key's algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Parses the private half.
    pub(super) fn private_key(&self) -> Result<PrivateKey, Status> {
        PrivateKey::from_bytes(self.algorithm, &self.private.0).map_err(|_| Status::MEMORY_FAILURE)
    }

    /// When the key wants the PIN.
    pub const fn pin_policy(&self) -> PinPolicy {
        self.pin_policy
    }

    /// Where the key was born.
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::of_own_key(self.algorithm, self.public.clone())
    }
}

/// Number of parsed keys kept: a terminal uses one or two.
const KEPT: usize = 2;

/// Keys that were used last, parsed. An entry serves only while the record still holds the same public key.
#[derive(Default)]
pub(super) struct LoadedKeys {
    recent: VecDeque<(RecordName, Vec<u8>, Rc<PrivateKey>)>,
}

impl LoadedKeys {
    /// The parsed key of a record.
    pub(super) fn load(
        &mut self,
        reference: KeyReference,
        record: &KeyRecord,
    ) -> Result<Rc<PrivateKey>, Status> {
        let id = record::key(reference);
        if let Some((.., key)) = self.recent.iter().find(|entry| entry.0 == id && entry.1 == record.public) {
            return Ok(Rc::clone(key));
        }
        let key = Rc::new(record.private_key()?);
        self.keep(reference, record, &key);
        Ok(key)
    }

    /// Keeps a key that was just made.
    pub(super) fn keep(&mut self, reference: KeyReference, record: &KeyRecord, key: &Rc<PrivateKey>) {
        self.forget(reference);
        self.recent.truncate(KEPT - 1);
        self.recent.push_front((record::key(reference), record.public.clone(), Rc::clone(key)));
    }

    /// Erases a slot's parsed key.
    pub(super) fn forget(&mut self, reference: KeyReference) {
        self.recent.retain(|entry| entry.0 != record::key(reference));
    }

    /// Erases all.
    pub(super) fn forget_all(&mut self) {
        self.recent.clear();
    }
}

/// Makes a key with its record.
pub(super) fn generate(
    algorithm: Algorithm,
    pin_policy: PinPolicy,
    rng: &mut impl CryptoRng,
) -> Result<(Rc<PrivateKey>, KeyRecord), Status> {
    let key = PrivateKey::generate(algorithm, rng).map_err(|_| Status::UNSPECIFIED)?;
    let record = KeyRecord::generated(&key, pin_policy);
    Ok((Rc::new(key), record))
}

/// The status of a refused operation with a key.
pub(super) const fn refused(error: CryptoError) -> Status {
    match error {
        CryptoError::WrongLength
        | CryptoError::BadPoint
        | CryptoError::OutOfRange
        | CryptoError::WrongAlgorithm => Status::WRONG_DATA,
        CryptoError::BadKey => Status::MEMORY_FAILURE,
        CryptoError::Fault => Status::UNSPECIFIED,
    }
}
