//! Command chaining (ISO/IEC 7816-4, 5.3.3).

use alloc::vec::Vec;

use cardhost_wire::{apdu::CommandApdu, status::Status};
use zeroize::Zeroizing;

use super::class::Class;

/// Longest data field, chained or not.
const MAX_DATA: usize = 16 * 1024;

/// The data of a chain whose last command is still to come.
#[derive(Default)]
pub struct Chain {
    kind: Option<Kind>,
    data: Zeroizing<Vec<u8>>,
}

/// What all commands of one chain have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kind {
    channel: usize,
    header: [u8; 4],
}

impl Chain {
    /// True if no chain has begun.
    pub const fn is_idle(&self) -> bool {
        self.kind.is_none()
    }

    /// Adds the command's data. A command of another kind or channel abandons the chain and begins its own.
    ///
    /// # Errors
    /// `6A84`: too long; the chain is abandoned.
    pub fn extend(&mut self, class: Class, command: &CommandApdu<'_>) -> Result<(), Status> {
        let header = [class.of_whole(), command.ins, command.p1, command.p2];
        let kind = Some(Kind { channel: class.channel(), header });
        if self.kind != kind {
            *self = Self { kind, data: Zeroizing::default() };
        }
        if self.data.len() + command.data.len() > MAX_DATA {
            *self = Self::default();
            return Err(Status::NOT_ENOUGH_MEMORY);
        }
        self.append(command.data);
        Ok(())
    }

    /// Ends the chain with this command and returns the whole data field.
    ///
    /// # Errors
    /// See [`Self::extend`].
    pub fn finish(&mut self, class: Class, command: &CommandApdu<'_>) -> Result<Zeroizing<Vec<u8>>, Status> {
        self.extend(class, command)?;
        Ok(core::mem::take(self).data)
    }

    /// Grows by hand, so that no unerased copy of a PIN or key stays behind a reallocation.
    fn append(&mut self, bytes: &[u8]) {
        let mut grown = Zeroizing::new(Vec::with_capacity(self.data.len() + bytes.len()));
        grown.extend_from_slice(&self.data);
        grown.extend_from_slice(bytes);
        self.data = grown;
    }
}
