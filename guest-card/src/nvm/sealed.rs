//! Sealed records on their way in.

use alloc::vec::{self, Vec};

use cardhost_wire::control::{Refusal, SealedRecord};

use super::{MAX_BYTES, MAX_RECORDS, seal::OVERHEAD};

/// The records that have arrived for a start, not verified yet. A host that sends more than a card can have
/// committed gets no memory for it.
#[derive(Default)]
pub struct SealedState {
    records: Vec<SealedRecord>,
    bytes: usize,
}

impl SealedState {
    /// Takes some more records.
    ///
    /// # Errors
    /// [`Refusal::Inconsistent`]: more than a card holds.
    pub fn extend(&mut self, records: Vec<SealedRecord>) -> Result<(), Refusal> {
        self.bytes += records.iter().map(|record| record.sealed.len()).sum::<usize>();
        if self.records.len() + records.len() > MAX_RECORDS || self.bytes > MAX_BYTES + MAX_RECORDS * OVERHEAD
        {
            return Err(Refusal::Inconsistent);
        }
        self.records.extend(records);
        Ok(())
    }

    /// True if none has arrived.
    pub const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

/// Record by record, so that each one's sealed form is freed once it is opened.
impl IntoIterator for SealedState {
    type Item = SealedRecord;
    type IntoIter = vec::IntoIter<SealedRecord>;

    fn into_iter(self) -> Self::IntoIter {
        self.records.into_iter()
    }
}
