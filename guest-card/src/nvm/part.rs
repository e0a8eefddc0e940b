//! What one owner reads of the card's memory.

use core::marker::PhantomData;

use super::{MAX_BYTES, Partition, RecordName, Records};
use crate::container::{Owner, SecureElement};

/// The records of `C`.
pub struct Part<'a, C = SecureElement> {
    records: &'a Records,
    owner: PhantomData<C>,
}

impl<'a, C: Owner> Part<'a, C> {
    pub(super) const fn of(records: &'a Records) -> Self {
        Self { records, owner: PhantomData }
    }

    /// The record's bytes, if it exists.
    pub fn read(self, name: RecordName<C>) -> Option<&'a [u8]> {
        self.records.get(&name.id()).map(|bytes| bytes.as_slice())
    }

    /// Bytes that the card still takes, whoever writes them.
    pub fn room(self) -> usize {
        let taken: usize = self.records.values().map(|bytes| bytes.len()).sum();
        MAX_BYTES.saturating_sub(taken)
    }

    /// The existing records of a partition, in order.
    pub fn names(self, partition: Partition<C>) -> impl Iterator<Item = RecordName<C>> + 'a
    where
        C: 'a,
    {
        self.records.range(partition.range()).map(move |(id, _)| partition.record(*id))
    }
}

impl<C> Clone for Part<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Part<'_, C> {}
