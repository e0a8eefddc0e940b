//! Security domains by number, and their records.
//!
//! | record | content |
//! |---|---|
//! | `000` | the registry |
//! | `001` | the initial key set until its delivery is acknowledged |
//! | `n00` | from here on those of domain n - 1, 0 is the issuer's |
//! | `n00`–`n0F`, `n10`–`n1F` | AES key sets, and the sequence counter of each |
//! | `n20`–`n3F` | elliptic keys |
//! | `n40`–`n5F`, `n60`–`n7F`, `n80`–`n9F` | certificates, allowlist and CA identifier of each elliptic key |
//! | `nA0`–`nA2` | data objects 42, 45, 9F7F |

use core::ops::Range;

use cardhost_wire::tlv::Tag;
use serde::{Deserialize, Serialize};

use crate::{container::SecurityDomains, nvm::RecordName};

/// Further security domains that a card holds at most.
pub const MOST_DOMAINS: u8 = 8;
/// Key sets of a domain at most.
pub const MOST_KEY_SETS: u16 = 16;
/// Elliptic keys of a domain at most.
pub const MOST_EC_KEYS: u16 = 32;

/// The registry's record.
pub const fn registry_record<C: SecurityDomains>() -> RecordName<C> {
    C::DOMAINS.record(0)
}

/// The record of the initial key set, until its delivery is acknowledged.
pub const fn pending_keys_record<C: SecurityDomains>() -> RecordName<C> {
    C::DOMAINS.record(1)
}

const COUNTERS: u16 = 0x10;
const EC_KEYS: u16 = 0x20;
const CERTIFICATES: u16 = 0x40;
const ALLOWLISTS: u16 = 0x60;
const CA_IDENTIFIERS: u16 = 0x80;
const OBJECTS: u16 = 0xA0;
const NUMBERS: u16 = 0x100;

/// A security domain. Its number may serve another one after it was deleted, its generation never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    number: u8,
    generation: u32,
}

/// A data object of a domain that can be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredObject {
    /// `42`: issuer identification number.
    Iin,
    /// `45`: card image number.
    Cin,
    /// `9F7F`: card production life cycle data.
    Cplc,
}

impl Domain {
    /// The issuer security domain.
    pub const ISSUER: Self = Self { number: 0, generation: 0 };

    /// A further one, numbers from 1.
    pub const fn further(number: u8, generation: u32) -> Self {
        Self { number, generation }
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.number
    }

    /// True for the issuer's.
    pub const fn is_issuer(self) -> bool {
        self.number == 0
    }

    /// The record of a key set.
    pub const fn key_set<C: SecurityDomains>(self, slot: u16) -> RecordName<C> {
        self.record(slot)
    }

    /// The record of a key set's sequence counter.
    pub const fn counter<C: SecurityDomains>(self, slot: u16) -> RecordName<C> {
        self.record(COUNTERS + slot)
    }

    /// The record of an elliptic key.
    pub const fn ec_key<C: SecurityDomains>(self, slot: u16) -> RecordName<C> {
        self.record(EC_KEYS + slot)
    }

    /// The record of an elliptic key's certificates.
    pub const fn certificates<C: SecurityDomains>(self, slot: u16) -> RecordName<C> {
        self.record(CERTIFICATES + slot)
    }

    /// The record of the serial numbers that an authority's key admits.
    pub const fn allowlist<C: SecurityDomains>(self, slot: u16) -> RecordName<C> {
        self.record(ALLOWLISTS + slot)
    }

    /// The record of the identifier of an elliptic key's authority.
    pub const fn ca_identifier<C: SecurityDomains>(self, slot: u16) -> RecordName<C> {
        self.record(CA_IDENTIFIERS + slot)
    }

    /// The record of a data object.
    pub const fn object<C: SecurityDomains>(self, object: StoredObject) -> RecordName<C> {
        self.record(OBJECTS + object as u16)
    }

    /// The numbers of all its records.
    pub fn records(self) -> Range<u16> {
        let first = self.first();
        first..first + NUMBERS
    }

    const fn record<C: SecurityDomains>(self, number: u16) -> RecordName<C> {
        C::DOMAINS.record(self.first() + number)
    }

    const fn first(self) -> u16 {
        NUMBERS * (1 + self.number as u16)
    }
}

impl StoredObject {
    /// The object with this tag.
    pub const fn of(tag: Tag) -> Option<Self> {
        match tag {
            0x42 => Some(Self::Iin),
            0x45 => Some(Self::Cin),
            0x9F7F => Some(Self::Cplc),
            _ => None,
        }
    }

    /// Its longest content in bytes.
    pub const fn longest(self) -> usize {
        match self {
            Self::Iin | Self::Cin => 32,
            Self::Cplc => 42,
        }
    }
}
