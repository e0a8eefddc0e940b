//! The records of the card OS that pairing takes.
//!
//! | record | content |
//! |---|---|
//! | `000` | the card's own key |
//! | `001` | its certificate, and the authority of terminals |
//! | `002` | the policy |
//! | `003` | the newest revocation list |
//! | `100`–`10F` | pairings, by key version number |

use alloc::vec::Vec;

use cardhost_wire::{
    key::{Algorithm, Secret},
    status::Status,
};
use serde::{Deserialize, Serialize};

use super::{Change, Part, kvn::Kvn};
use crate::{
    container::CardOs,
    crypto::{AgreementKey, CryptoError, PrivateKey, VerifyingKey},
    nvm::{Partition, RecordName, structure},
};

const CARD_KEY: RecordName<CardOs> = Partition::PAIRING.record(0);
const CERTIFICATION: RecordName<CardOs> = Partition::PAIRING.record(1);
/// The policy.
pub const POLICY: RecordName<CardOs> = Partition::PAIRING.record(2);
/// The newest revocation list.
pub const REVOCATIONS: RecordName<CardOs> = Partition::PAIRING.record(3);
const PAIRINGS: u16 = 0x100;

/// The record of a pairing.
pub const fn pairing(kvn: Kvn) -> RecordName<CardOs> {
    Partition::PAIRING.record(PAIRINGS + kvn.slot())
}

/// SK.SD.ECKA at rest: a scalar on P-256.
#[derive(Serialize, Deserialize)]
pub struct CardKey(Secret);

impl CardKey {
    /// A key that was just made.
    pub fn new(key: &PrivateKey) -> Self {
        Self(Secret(key.to_bytes().to_vec()))
    }

    /// Reads it, if it was made.
    ///
    /// # Errors
    /// `6581`: the record is not one of ours.
    pub fn load(nvm: Part<'_>) -> Result<Option<PrivateKey>, Status> {
        Self::read(nvm, |scalar| PrivateKey::from_bytes(Algorithm::P256, scalar))
    }

    /// The same, where it only agrees.
    ///
    /// # Errors
    /// `6581`: the record is not one of ours.
    pub fn for_agreement(nvm: Part<'_>) -> Result<Option<AgreementKey>, Status> {
        Self::read(nvm, AgreementKey::from_bytes)
    }

    fn read<K>(
        nvm: Part<'_>,
        parse: impl FnOnce(&[u8]) -> Result<K, CryptoError>,
    ) -> Result<Option<K>, Status> {
        let stored: Option<Self> = structure::load(nvm, CARD_KEY)?;
        stored.map(|Self(scalar)| parse(&scalar.0)).transpose().map_err(|_| Status::MEMORY_FAILURE)
    }

    /// Adds it to a change.
    pub fn put(&self, change: Change) -> Change {
        change.put(CARD_KEY, structure::encode(self))
    }
}

/// That the authorities have certified the card's key, and will certify terminals.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct Certification {
    /// PK.CA-KLOC.ECDSA, uncompressed.
    pub authority: Vec<u8>,
    /// That authority's name, DER: who issues revocation lists.
    pub issuer: Vec<u8>,
    /// The card's certificate, DER, by the cards' authority.
    pub certificate: Vec<u8>,
}

impl Certification {
    /// Reads it, if the card is certified.
    ///
    /// # Errors
    /// `6581`: the record is not one of ours.
    pub fn load(nvm: Part<'_>) -> Result<Option<Self>, Status> {
        structure::load(nvm, CERTIFICATION)
    }

    /// The key of the terminals' authority.
    ///
    /// # Errors
    /// `6581`: the record is not one of ours.
    pub fn verifying_key(&self) -> Result<VerifyingKey, Status> {
        VerifyingKey::from_point(&self.authority).map_err(|_| Status::MEMORY_FAILURE)
    }

    /// Adds it to a change.
    pub fn put(&self, change: Change) -> Change {
        change.put(CERTIFICATION, structure::encode(self))
    }
}
