//! Stored AES key sets and their sequence counters (GlobalPlatform Amendment D 1.2, 5).

use alloc::vec::Vec;

use cardhost_wire::{key::Secret, status::Status};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use super::domain::{Domain, MOST_KEY_SETS};
use crate::{
    container::SecurityDomains,
    crypto::{AesKey, Block},
    nvm::{Change, Part, structure},
    scp::scp03::{Implementation, KeySet, StaticKeys},
    services::Services,
};

/// Key version number of the set that a card is born with.
pub const INITIAL_KVN: u8 = 0xFF;
/// Key version number of the well-known set.
pub const WELL_KNOWN_KVN: u8 = 0x30;
/// Key identifiers of a set's three keys: ENC, MAC, DEK.
pub const KEY_IDS: [u8; 3] = [1, 2, 3];
const WELL_KNOWN: [u8; 16] =
    [0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4A, 0x4B, 0x4C, 0x4D, 0x4E, 0x4F];
/// Bytes of each key of an initial set.
const INITIAL_LENGTH: usize = 16;
/// First counter that the three bytes cannot tell any more.
const EXHAUSTED: u32 = 1 << 24;

/// A key set at rest.
#[derive(Serialize, Deserialize)]
pub struct StoredKeySet {
    kvn: u8,
    /// The parameter "i".
    i: u8,
    enc: Secret,
    mac: Secret,
    dek: Secret,
}

/// A stored key set with the place that it stands in.
pub struct Found {
    /// Its number among the domain's sets.
    pub slot: u16,
    /// The set.
    pub set: StoredKeySet,
}

impl StoredKeySet {
    /// A set of three keys, each of 16, 24 or 32 bytes.
    pub fn new(kvn: u8, implementation: Implementation, [enc, mac, dek]: [Secret; 3]) -> Self {
        Self { kvn, i: implementation.value(), enc, mac, dek }
    }

    /// The well-known set.
    pub fn well_known() -> Self {
        let keys = [(); 3].map(|()| Secret(WELL_KNOWN.to_vec()));
        Self::new(WELL_KNOWN_KVN, Implementation::PseudoRandomS8, keys)
    }

    /// A random set for a card's birth.
    pub fn initial(rng: &mut impl CryptoRng) -> Self {
        let keys = [(); 3].map(|()| {
            let mut key = Secret(alloc::vec![0; INITIAL_LENGTH]);
            rng.fill_bytes(&mut key.0);
            key
        });
        Self::new(INITIAL_KVN, Implementation::PseudoRandomS8, keys)
    }

    /// Key version number.
    pub const fn kvn(&self) -> u8 {
        self.kvn
    }

    /// ENC, MAC and DEK.
    pub const fn keys(&self) -> [&Secret; 3] {
        [&self.enc, &self.mac, &self.dek]
    }

    /// ENC, MAC and DEK, one after the other.
    pub fn concatenated(&self) -> Secret {
        Secret(self.keys().map(|key| &key.0[..]).concat())
    }

    /// Adds it to a change, its counter at the beginning.
    pub fn put<C: SecurityDomains>(&self, change: Change<C>, domain: Domain, slot: u16) -> Change<C> {
        change.put(domain.key_set(slot), structure::encode(self)).delete(domain.counter(slot))
    }

    /// The set, ready for use.
    ///
    /// # Errors
    /// `6581`: the record is not one of ours.
    pub fn ready(&self) -> Result<KeySet, Status> {
        let key = |secret: &Secret| AesKey::new(&secret.0).map_err(|_| Status::MEMORY_FAILURE);
        let keys = StaticKeys { enc: key(&self.enc)?, mac: key(&self.mac)?, dek: key(&self.dek)? };
        let implementation = Implementation::parse(self.i).ok_or(Status::MEMORY_FAILURE)?;
        Ok(KeySet { kvn: self.kvn, implementation, keys })
    }
}

/// A domain's sets, the oldest place first.
///
/// # Errors
/// `6581`: a record is not one of ours.
pub fn all<C: SecurityDomains>(nvm: Part<'_, C>, domain: Domain) -> Result<Vec<Found>, Status> {
    let load = |slot| Ok(structure::load(nvm, domain.key_set(slot))?.map(|set| Found { slot, set }));
    (0..MOST_KEY_SETS).filter_map(|slot| load(slot).transpose()).collect()
}

/// The set with this key version number; 0 means the first.
///
/// # Errors
/// See [`all`].
pub fn find<C: SecurityDomains>(nvm: Part<'_, C>, domain: Domain, kvn: u8) -> Result<Option<Found>, Status> {
    Ok(all(nvm, domain)?.into_iter().find(|found| kvn == 0 || found.set.kvn == kvn))
}

/// A place that holds no set.
///
/// # Errors
/// `6A84`: all do.
pub fn free_slot<C: SecurityDomains>(nvm: Part<'_, C>, domain: Domain) -> Result<u16, Status> {
    let free = |&slot: &u16| nvm.read(domain.key_set(slot)).is_none();
    (0..MOST_KEY_SETS).find(free).ok_or(Status::NOT_ENOUGH_MEMORY)
}

/// Erases a set with its counter.
pub fn delete<C: SecurityDomains>(change: Change<C>, domain: Domain, slot: u16) -> Change<C> {
    change.delete(domain.key_set(slot)).delete(domain.counter(slot))
}

/// The sequence counter that was used last; 0 before the first.
///
/// # Errors
/// See [`all`].
pub fn counter<C: SecurityDomains>(nvm: Part<'_, C>, domain: Domain, slot: u16) -> Result<u32, Status> {
    Ok(structure::load(nvm, domain.counter(slot))?.unwrap_or_default())
}

/// Takes the next sequence counter; it is durable before it is used, so that no challenge ever comes again.
///
/// # Errors
/// `6985`: the set has used all of them; `6581`.
pub fn take_counter<C: SecurityDomains>(
    services: &mut Services<'_, C>,
    domain: Domain,
    slot: u16,
) -> Result<u32, Status> {
    let next = counter(services.nvm(), domain, slot)? + 1;
    if next >= EXHAUSTED {
        return Err(Status::CONDITIONS_NOT_SATISFIED);
    }
    services.commit(Change::new().put(domain.counter(slot), structure::encode(&next)))?;
    Ok(next)
}

/// The key check value: the beginning of a block of ones, encrypted (Amendment D, 4.1.4 and 7.2.2.2).
///
/// # Errors
/// `6A80`: not an AES key.
pub fn check_value(key: &[u8]) -> Result<[u8; 3], Status> {
    let ones: Block = [1; 16];
    let [a, b, c, ..] = AesKey::new(key).map_err(|_| Status::WRONG_DATA)?.encrypt_block(ones);
    Ok([a, b, c])
}
