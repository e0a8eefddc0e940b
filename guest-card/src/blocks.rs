//! The blocks of a STORE DATA sequence (GlobalPlatform Card Specification 2.3.1, 11.11.2).

use alloc::vec::Vec;

use cardhost_wire::status::Status;

use crate::nvm::MAX_RECORD;

/// The blocks that have come of a STORE DATA sequence.
#[derive(Default)]
pub struct Blocks {
    data: Vec<u8>,
    next: u8,
}

impl Blocks {
    /// True if no sequence has begun.
    pub const fn is_empty(&self) -> bool {
        self.next == 0
    }

    /// Adds a block. Block 0 begins a sequence anew. Answers the whole with the last one.
    ///
    /// # Errors
    /// `6A80`: not the block that comes next; `6A84`: too long. The sequence is over then.
    pub fn add(&mut self, last: bool, number: u8, block: &[u8]) -> Result<Option<Vec<u8>>, Status> {
        let Self { mut data, next } = core::mem::take(self);
        if number == 0 {
            data.clear();
        } else if number != next {
            return Err(Status::WRONG_DATA);
        }
        if data.len() + block.len() > MAX_RECORD {
            return Err(Status::NOT_ENOUGH_MEMORY);
        }
        data.extend_from_slice(block);
        if last {
            return Ok(Some(data));
        }
        *self = Self { data, next: number.checked_add(1).ok_or(Status::WRONG_DATA)? };
        Ok(None)
    }
}
