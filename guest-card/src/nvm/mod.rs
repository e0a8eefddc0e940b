//! Non-volatile memory: numbered records, in plain only in the guest's own memory, sealed wherever else they are.
//!
//! ```text
//! Change ──apply──▶ records ──seal──▶ Commit ──Platform::commit──▶ durable: epoch + 1
//!                      ▲                                      └──▶ refused: the records are as before
//! ```
//!
//! A commit carries only the changed records and the head. The head names the epoch and the authentication tag of
//! every live record, so an opened state is exactly one that this card committed, whole: a record that is missing,
//! old or from elsewhere does not match it.

mod change;
mod head;
mod part;
mod record;
mod seal;
mod sealed;
pub mod structure;

use alloc::{collections::BTreeMap, vec::Vec};

use cardhost_wire::{
    control::{Commit, RecordId, Refusal, SealedRecord},
    status::Status,
};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::container::Owner;

pub use change::Change;
use head::Head;
pub use part::Part;
pub use record::{Partition, RecordName};
pub use seal::{Binding, SealKey, TAG};
pub use sealed::SealedState;

/// Most records that one card holds.
const MAX_RECORDS: usize = 256;
/// Longest record, bytes: PIV's longest object is the facial image with 12,704.
pub const MAX_RECORD: usize = 13 * 1024;
/// Most bytes that all records of a card hold together. Well below what the guest's heap and the host's store take,
/// so that a full card answers `6A84` and goes on.
pub const MAX_BYTES: usize = 256 * 1024;

/// Of these, what only the card OS may take: as much as all of its own records.
const LAST_RECORDS: usize = 24;
/// See [`LAST_RECORDS`].
const LAST_BYTES: usize = 16 * 1024;

type Records = BTreeMap<RecordId, Zeroizing<Vec<u8>>>;

/// A card's opened non-volatile memory.
pub struct Nvm {
    key: SealKey,
    head: Head,
    records: Records,
}

impl Nvm {
    /// The empty memory of a new card.
    pub fn blank(key: SealKey) -> Self {
        Self { key, head: Head::default(), records: Records::new() }
    }

    /// Opens a sealed state.
    ///
    /// # Errors
    /// The [`Refusal`] that the host is to be told.
    pub fn open(key: SealKey, head: &[u8], sealed: SealedState) -> Result<Self, Refusal> {
        let head = Head::open(&key, head)?;
        let mut records = Records::new();
        for record in sealed {
            head.verify(&record)?;
            let plain = key.open(Some(record.id), &record.sealed)?;
            if records.insert(record.id, plain).is_some() {
                return Err(Refusal::Inconsistent);
            }
        }
        // Each is one of the head's and none came twice: as many as the head names are exactly those.
        if records.len() == head.len() { Ok(Self { key, head, records }) } else { Err(Refusal::Inconsistent) }
    }

    /// What `C` may read.
    pub fn part<C: Owner>(&self) -> Part<'_, C> {
        Part::of(&self.records)
    }

    /// Epoch of the last durable commit; 0 for a new card.
    pub fn epoch(&self) -> u64 {
        self.head.epoch()
    }

    /// Applies a change in memory; [`Self::seal`] and then [`Self::confirm`] or [`Self::revert`] must follow.
    pub(crate) fn apply<C: Owner>(&mut self, change: Change<C>) -> Result<Applied, Status> {
        self.check_room(&change)?;
        let before = change.ids().map(|id| (id, self.records.remove(&id))).collect();
        let applied = Applied { before };
        for (id, bytes) in change.into_puts() {
            self.records.insert(id, bytes);
        }
        Ok(applied)
    }

    fn check_room<C: Owner>(&self, change: &Change<C>) -> Result<(), Status> {
        let kept = self.records.iter().filter(|(id, _)| !change.names(**id)).map(|(_, bytes)| bytes.len());
        let put = change.puts().map(<[u8]>::len);
        let too_long = put.clone().any(|length| length > MAX_RECORD);
        let before = size(self.records.values().map(|bytes| bytes.len()));
        let after = size(kept.chain(put));
        let (last_records, last_bytes) = if C::TAKES_LAST_ROOM { (0, 0) } else { (LAST_RECORDS, LAST_BYTES) };
        // What does not grow fits, also where the card OS has taken of what was others'.
        let fits = |after: usize, before: usize, most: usize| after <= most || after <= before;
        if !too_long
            && fits(after.0, before.0, MAX_RECORDS - last_records)
            && fits(after.1, before.1, MAX_BYTES - last_bytes)
        {
            Ok(())
        } else {
            Err(Status::NOT_ENOUGH_MEMORY)
        }
    }

    /// Seals what was applied as the next epoch. The credentials are the caller's to fill in.
    pub(crate) fn seal(&self, applied: &Applied, rng: &mut impl CryptoRng) -> (Commit, NextHead) {
        let mut head = self.head.next();
        let (mut put, mut delete) = (Vec::new(), Vec::new());
        for id in applied.ids() {
            match self.records.get(&id) {
                Some(bytes) => put.push(SealedRecord { id, sealed: self.key.seal(Some(id), bytes, rng) }),
                None => delete.push(id),
            }
        }
        put.iter().for_each(|record| head.insert(record));
        delete.iter().for_each(|id| head.remove(*id));
        let sealed_head = head.seal(&self.key, rng);
        let commit = Commit { epoch: head.epoch(), put, delete, head: sealed_head, credentials: Vec::new() };
        (commit, NextHead(head))
    }

    /// The commit is durable.
    pub(crate) fn confirm(&mut self, head: NextHead) {
        self.head = head.0;
    }

    /// The commit was refused: the records are as before.
    pub(crate) fn revert(&mut self, applied: Applied) {
        for (id, bytes) in applied.before {
            match bytes {
                Some(bytes) => self.records.insert(id, bytes),
                None => self.records.remove(&id),
            };
        }
    }
}

/// Number and bytes of records of these lengths.
fn size(lengths: impl Iterator<Item = usize>) -> (usize, usize) {
    lengths.fold((0, 0), |(records, bytes), length| (records + 1, bytes + length))
}

/// What a change replaced, until it is durable.
pub(crate) struct Applied {
    before: Vec<(RecordId, Option<Zeroizing<Vec<u8>>>)>,
}

impl Applied {
    fn ids(&self) -> impl Iterator<Item = RecordId> + '_ {
        self.before.iter().map(|(id, _)| *id)
    }
}

/// The head that becomes valid once its commit is durable.
pub(crate) struct NextHead(Head);

#[cfg(test)]
mod tests;
