//! A change of several records that becomes durable whole or not at all.

use alloc::{collections::BTreeMap, vec::Vec};
use core::marker::PhantomData;

use cardhost_wire::control::RecordId;
use zeroize::Zeroizing;

use super::RecordName;
use crate::container::{Owner, SecureElement};

/// Records of `C` to write and to erase together. The last word on a record counts.
#[must_use = "a change does nothing until it is committed"]
pub struct Change<C = SecureElement> {
    records: BTreeMap<RecordId, Option<Zeroizing<Vec<u8>>>>,
    owner: PhantomData<C>,
}

impl<C> Default for Change<C> {
    fn default() -> Self {
        Self { records: BTreeMap::new(), owner: PhantomData }
    }
}

impl<C: Owner> Change<C> {
    /// Changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a record.
    pub fn put(mut self, name: RecordName<C>, bytes: impl Into<Zeroizing<Vec<u8>>>) -> Self {
        self.records.insert(name.id(), Some(bytes.into()));
        self
    }

    /// Erases a record, if it exists.
    pub fn delete(mut self, name: RecordName<C>) -> Self {
        self.records.insert(name.id(), None);
        self
    }

    /// Adds everything that `other` changes.
    pub fn and(mut self, other: Self) -> Self {
        self.records.extend(other.records);
        self
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = RecordId> + '_ {
        self.records.keys().copied()
    }

    pub(super) fn names(&self, id: RecordId) -> bool {
        self.records.contains_key(&id)
    }

    pub(super) fn puts(&self) -> impl Iterator<Item = &[u8]> + Clone + '_ {
        self.records.values().flatten().map(|bytes| bytes.as_slice())
    }

    pub(super) fn into_puts(self) -> impl Iterator<Item = (RecordId, Zeroizing<Vec<u8>>)> {
        self.records.into_iter().filter_map(|(id, bytes)| Some((id, bytes?)))
    }
}
