//! A host for the tests: stores commits in memory, or refuses them, and has a repeatable hardware generator.

use alloc::{collections::BTreeMap, vec::Vec};

use cardhost_wire::control::{Commit, Launch, RecordId, SealedRecord, VERSION};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::platform::{NotCommitted, Platform};

/// What the host has stored.
#[derive(Default)]
pub struct Host {
    /// The sealed head of the last commit.
    pub head: Option<Vec<u8>>,
    stored: BTreeMap<RecordId, Vec<u8>>,
    /// Refuse commits from now on.
    pub failing: bool,
    /// Commits stored so far.
    pub commits: usize,
    /// The credentials that the last commit told.
    pub credentials: Vec<cardhost_wire::control::Credential>,
    words: u64,
}

impl Host {
    /// Stores one commit whole, or refuses it.
    pub fn store(&mut self, commit: Commit) -> Result<(), NotCommitted> {
        if self.failing {
            return Err(NotCommitted);
        }
        commit.delete.iter().for_each(|id| drop(self.stored.remove(id)));
        self.stored.extend(commit.put.into_iter().map(|record| (record.id, record.sealed)));
        self.head = Some(commit.head);
        self.credentials = commit.credentials;
        self.commits += 1;
        Ok(())
    }

    /// The stored records.
    pub fn records(&self) -> Vec<SealedRecord> {
        self.stored.iter().map(|(id, sealed)| SealedRecord { id: *id, sealed: sealed.clone() }).collect()
    }

    /// Puts one record in place of what is stored.
    pub fn replace(&mut self, record: &SealedRecord) {
        self.stored.insert(record.id, record.sealed.clone());
    }
}

impl Platform for Host {
    fn commit(&mut self, commit: Commit) -> Result<(), NotCommitted> {
        self.store(commit)
    }

    fn hardware_random(&mut self) -> Option<u64> {
        self.words += 1;
        Some(ChaCha20Rng::seed_from_u64(self.words).next_u64())
    }
}

/// A launch with fixed values.
pub fn launch() -> Launch {
    Launch {
        version: VERSION,
        seed: [1; 32],
        card: [2; 16],
        owner: [3; 32],
        image_policy: [4; 32],
        card_key: [5; 32],
        default_keys: true,
    }
}

/// A generator for sealing in tests.
pub fn sealing_rng() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([7; 32])
}
