//! Names of records. Each container has a partition of its own and can name nothing outside it.

use core::ops::RangeInclusive;

use cardhost_wire::control::RecordId;

/// A container's share of the record numbers: 4,096 each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition(u16);

impl Partition {
    /// The card as a whole: delivery of secrets, later its configuration.
    pub const CARD: Self = Self(0x0000);
    /// The secure element's PIV application.
    pub const PIV: Self = Self(0x1000);
    /// The secure element's issuer security domain.
    pub const ISD: Self = Self(0x2000);
    /// The UICC/eUICC.
    pub const UICC: Self = Self(0x3000);

    /// The partition's record with this number; numbers wrap at 4,096.
    pub const fn record(self, number: u16) -> RecordName {
        RecordName(self.0 | (number & 0x0FFF))
    }

    pub(super) const fn range(self) -> RangeInclusive<RecordId> {
        self.0..=self.0 | 0x0FFF
    }
}

/// One record's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordName(RecordId);

impl RecordName {
    /// The number within its partition.
    pub const fn number(self) -> u16 {
        self.0 & 0x0FFF
    }

    pub(super) const fn id(self) -> RecordId {
        self.0
    }
}
