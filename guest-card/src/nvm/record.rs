//! Names of records. Each owner has partitions of its own; the type of a name says whose it is.

use core::{
    fmt::{self, Debug, Formatter},
    marker::PhantomData,
    ops::RangeInclusive,
};

use cardhost_wire::control::RecordId;

use crate::container::{CardOs, Owner, SecondSecureElement, SecureElement, Uicc};

/// A share of the record numbers, 4,096 each, that belongs to `C`.
pub struct Partition<C = SecureElement>(u16, PhantomData<C>);

impl Partition<CardOs> {
    /// The card's configuration.
    pub const CARD: Self = Self(0x0000, PhantomData);
    /// Pairing with terminals.
    pub const PAIRING: Self = Self(0xF000, PhantomData);
}

impl Partition<SecureElement> {
    /// The PIV application.
    pub const PIV: Self = Self(0x1000, PhantomData);
    /// The security domains.
    pub const ISD: Self = Self(0x2000, PhantomData);
}

impl Partition<Uicc> {
    /// All of it.
    pub const UICC: Self = Self(0x3000, PhantomData);
}

impl Partition<SecondSecureElement> {
    /// The second secure element's security domains.
    pub const SECOND: Self = Self(0x4000, PhantomData);
}

impl<C: Owner> Partition<C> {
    /// The partition's record with this number; numbers wrap at 4,096.
    pub const fn record(self, number: u16) -> RecordName<C> {
        RecordName(self.0 | (number & 0x0FFF), PhantomData)
    }

    pub(super) const fn range(self) -> RangeInclusive<RecordId> {
        self.0..=self.0 | 0x0FFF
    }
}

impl<C> Clone for Partition<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Partition<C> {}

/// The name of one of `C`'s records.
pub struct RecordName<C = SecureElement>(RecordId, PhantomData<C>);

impl<C: Owner> RecordName<C> {
    /// The number within its partition.
    pub const fn number(self) -> u16 {
        self.0 & 0x0FFF
    }

    pub(super) const fn id(self) -> RecordId {
        self.0
    }
}

impl<C> Clone for RecordName<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for RecordName<C> {}

impl<C> PartialEq for RecordName<C> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<C> Eq for RecordName<C> {}

impl<C> Debug for RecordName<C> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "RecordName({:#06x})", self.0)
    }
}
