//! The pairings that a card holds: one SCP03 key set for each terminal.

use alloc::{string::String, vec::Vec};

use cardhost_wire::{key::Secret, pairing::Pairing, status::Status};
use serde::{Deserialize, Serialize};

use super::{Change, Part, certification::Terminal, kvn::Kvn, record};
use crate::{
    crypto::{AES_BLOCK, AesKey},
    nvm::structure,
    scp::scp03::{Implementation, KeySet, StaticKeys},
};

/// A pairing at rest.
#[derive(Serialize, Deserialize)]
pub struct StoredPairing {
    terminal: String,
    /// Of the certificate that the pairing was made with.
    serial: Vec<u8>,
    enc: Secret,
    mac: Secret,
    dek: Secret,
}

impl StoredPairing {
    /// A pairing with this terminal.
    ///
    /// # Errors
    /// `6A80`: the keys are not AES-128 keys.
    pub fn new(terminal: &Terminal, [enc, mac, dek]: [Secret; 3]) -> Result<Self, Status> {
        if [&enc, &mac, &dek].iter().any(|key| key.0.len() != AES_BLOCK) {
            return Err(Status::WRONG_DATA);
        }
        Ok(Self { terminal: terminal.name.clone(), serial: terminal.serial.clone(), enc, mac, dek })
    }

    /// The serial number of the terminal's certificate, by which the card knows it again.
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// What the host is told of it.
    pub fn public(self, kvn: Kvn) -> Pairing {
        Pairing { kvn: kvn.value(), terminal: self.terminal, serial: self.serial }
    }

    /// Its key set, ready for use: random challenges and S8, so that authentication writes nothing.
    ///
    /// # Errors
    /// `6581`: the record is not one of ours.
    pub fn key_set(&self, kvn: Kvn) -> Result<KeySet, Status> {
        let key = |secret: &Secret| AesKey::new(&secret.0).map_err(|_| Status::MEMORY_FAILURE);
        let keys = StaticKeys { enc: key(&self.enc)?, mac: key(&self.mac)?, dek: key(&self.dek)? };
        Ok(KeySet { kvn: kvn.value(), implementation: Implementation::RandomS8, keys })
    }

    /// Adds it to a change.
    pub fn put(&self, change: Change, kvn: Kvn) -> Change {
        change.put(record::pairing(kvn), structure::encode(self))
    }
}

/// The pairing with this key version number.
///
/// # Errors
/// `6581`: the record is not one of ours.
pub fn find(nvm: Part<'_>, kvn: Kvn) -> Result<Option<StoredPairing>, Status> {
    structure::load(nvm, record::pairing(kvn))
}

/// All pairings, in the order of their key version numbers.
///
/// # Errors
/// See [`find`].
pub fn all(nvm: Part<'_>) -> Result<Vec<(Kvn, StoredPairing)>, Status> {
    Kvn::all().filter_map(|kvn| find(nvm, kvn).map(|found| Some((kvn, found?))).transpose()).collect()
}
