//! The head: which records a state consists of.
//!
//! Plaintext of format version 1: epoch (u64), then for each record its number (u16) and tag (16 bytes), all
//! little-endian, in ascending order.

use alloc::{collections::BTreeMap, vec::Vec};

use cardhost_wire::control::{RecordId, Refusal, SealedRecord};
use rand_core::CryptoRng;

use super::seal::{SealKey, TAG};

const ENTRY: usize = 2 + TAG;
type Tag = [u8; TAG];

/// Epoch and tags of the live records.
#[derive(Clone, Default)]
pub(super) struct Head {
    epoch: u64,
    tags: BTreeMap<RecordId, Tag>,
}

impl Head {
    /// Opens a sealed head.
    pub(super) fn open(key: &SealKey, sealed: &[u8]) -> Result<Self, Refusal> {
        let plain = key.open(None, sealed)?;
        let (epoch, entries) = plain.split_first_chunk::<8>().ok_or(Refusal::UnknownFormat)?;
        let (entries, []) = entries.as_chunks::<ENTRY>() else { return Err(Refusal::UnknownFormat) };
        let tags = entries.iter().map(entry).collect();
        Ok(Self { epoch: u64::from_le_bytes(*epoch), tags })
    }

    /// Seals this head.
    pub(super) fn seal(&self, key: &SealKey, rng: &mut impl CryptoRng) -> Vec<u8> {
        let mut plain = Vec::with_capacity(8 + self.tags.len() * ENTRY);
        plain.extend(self.epoch.to_le_bytes());
        for (id, tag) in &self.tags {
            plain.extend(id.to_le_bytes());
            plain.extend(tag);
        }
        key.seal(None, &plain, rng)
    }

    /// The record is the one that this head names.
    pub(super) fn verify(&self, record: &SealedRecord) -> Result<(), Refusal> {
        let expected = self.tags.get(&record.id).ok_or(Refusal::Inconsistent)?;
        if record.sealed.last_chunk::<TAG>() == Some(expected) { Ok(()) } else { Err(Refusal::Inconsistent) }
    }

    pub(super) fn next(&self) -> Self {
        Self { epoch: self.epoch + 1, tags: self.tags.clone() }
    }

    pub(super) fn insert(&mut self, record: &SealedRecord) {
        let tag = record.sealed.last_chunk::<TAG>().expect("sealed by this card");
        self.tags.insert(record.id, *tag);
    }

    pub(super) fn remove(&mut self, id: RecordId) {
        self.tags.remove(&id);
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn len(&self) -> usize {
        self.tags.len()
    }
}

fn entry(bytes: &[u8; ENTRY]) -> (RecordId, Tag) {
    let [low, high, tag @ ..] = *bytes;
    (u16::from_le_bytes([low, high]), tag)
}
