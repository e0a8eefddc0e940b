//! Command chaining (ISO/IEC 7816-4, 5.3.3).

use alloc::vec::Vec;

use cardhost_wire::{apdu::CommandApdu, status::Status};
use zeroize::Zeroizing;

/// Longest data field that a chain may build up.
const MAX_CHAINED: usize = 16 * 1024;

/// The data of a chain whose last command is still to come.
#[derive(Default)]
pub struct Chain {
    header: Option<[u8; 4]>,
    data: Zeroizing<Vec<u8>>,
}

impl Chain {
    /// Adds the command's data. A command of another kind abandons the chain and begins its own.
    ///
    /// # Errors
    /// `6A84`: too long; the chain is abandoned.
    pub fn extend(&mut self, bare: u8, command: &CommandApdu<'_>) -> Result<(), Status> {
        let header = [bare, command.ins, command.p1, command.p2];
        if self.header != Some(header) {
            *self = Self { header: Some(header), data: Zeroizing::default() };
        }
        if self.data.len() + command.data.len() > MAX_CHAINED {
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
    pub fn finish(&mut self, bare: u8, command: &CommandApdu<'_>) -> Result<Zeroizing<Vec<u8>>, Status> {
        self.extend(bare, command)?;
        Ok(core::mem::take(self).data)
    }

    /// True while a chain is being built up.
    pub const fn is_open(&self) -> bool {
        self.header.is_some()
    }

    /// Grows by hand, so that no unerased copy of a PIN or key stays behind a reallocation.
    fn append(&mut self, bytes: &[u8]) {
        let mut grown = Zeroizing::new(Vec::with_capacity(self.data.len() + bytes.len()));
        grown.extend_from_slice(&self.data);
        grown.extend_from_slice(bytes);
        self.data = grown;
    }
}
