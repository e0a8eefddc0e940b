//! Key version numbers of pairings.

use cardhost_wire::pairing::{FIRST_KVN, MAX_PAIRINGS};

/// Key version number of a pairing, `60` to `6F`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kvn(u8);

impl Kvn {
    /// Reads one.
    pub const fn parse(kvn: u8) -> Option<Self> {
        match kvn.checked_sub(FIRST_KVN) {
            Some(slot) if (slot as usize) < MAX_PAIRINGS => Some(Self(kvn)),
            _ => None,
        }
    }

    /// All that there are, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (FIRST_KVN..).take(MAX_PAIRINGS).map(Self)
    }

    /// The number as it is sent.
    pub const fn value(self) -> u8 {
        self.0
    }

    /// The place of its pairing, from 0 on.
    pub const fn slot(self) -> u16 {
        (self.0 - FIRST_KVN) as u16
    }
}
