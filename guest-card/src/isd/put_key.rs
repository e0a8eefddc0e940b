//! PUT KEY and Yubico's GENERATE KEY (GlobalPlatform Card Specification 2.3.1, 11.8; Amendment D 1.2, 7.2; Amendment F
//! 1.3, 6).
//!
//! Keys come encrypted under the channel's DEK. A key version number also says of which kind a new AES set is: `50` to
//! `5F` S16 mode, `60` to `6F` random challenges; all others are as their domain was made, S8 with a sequence counter
//! unless its installation said otherwise.

use alloc::vec::Vec;

use cardhost_wire::{
    apdu::CommandApdu,
    key::{Algorithm, Secret},
    status::Status,
    tlv::{TlvReader, object},
};
use zeroize::Zeroizing;

use super::{
    domain::Domain,
    ec_key::{self, KeyName, Purpose, StoredEcKey},
    key_set::{self, INITIAL_KVN, KEY_IDS, StoredKeySet, check_value},
    malformed,
    registry::{LifeCycle, Registry},
};
use crate::{
    container::SecurityDomains,
    crypto::{AES_BLOCK, PrivateKey, VerifyingKey},
    nvm::{Change, Part},
    scp::{Authority, scp03::Implementation},
    services::Services,
};

/// Key types (Card Specification, table 11-16).
pub const AES: u8 = 0x88;
/// A public key on an elliptic curve.
pub const EC_PUBLIC: u8 = 0xB0;
/// A private key on an elliptic curve.
pub const EC_PRIVATE: u8 = 0xB1;
/// The curve of such a key.
pub const EC_PARAMETERS: u8 = 0xF0;
/// The number of P-256 (Amendment E, table 4-12).
pub const P256: u8 = 0x00;
/// P2: more than one key.
const MULTIPLE: u8 = 0x80;

/// PUT KEY.
pub struct PutKey<'a> {
    /// Version of the keys to replace, 0 for new ones.
    replaced: u8,
    /// Version of the new keys.
    kvn: u8,
    keys: Keys<'a>,
}

enum Keys<'a> {
    /// ENC, MAC and DEK.
    Set([AesComponent<'a>; 3]),
    /// A private scalar, encrypted.
    Private { kid: u8, scalar: &'a [u8] },
    /// An uncompressed point.
    Public { kid: u8, point: &'a [u8] },
}

/// A key set that PUT KEY brought, decrypted and checked.
pub struct PresentedSet {
    /// Its key version number.
    pub kvn: u8,
    /// ENC, MAC and DEK, of one length.
    pub keys: [Secret; 3],
    /// Version and check values: the command's answer once the set is stored.
    pub answer: Vec<u8>,
}

#[derive(Clone, Copy)]
struct AesComponent<'a> {
    encrypted: &'a [u8],
    check_value: &'a [u8],
}

impl<'a> PutKey<'a> {
    /// Parses the command.
    ///
    /// # Errors
    /// A status word for the terminal.
    pub fn parse(apdu: &CommandApdu<'a>) -> Result<Self, Status> {
        let (&kvn, components) = apdu.data.split_first().ok_or(Status::WRONG_LENGTH)?;
        if !matches!(kvn, 0x01..=0x7F) {
            return Err(Status::WRONG_DATA);
        }
        let keys = match apdu.p2 {
            p2 if p2 == MULTIPLE | KEY_IDS[0] => key_set(components).map(Keys::Set)?,
            kid => elliptic(kid, components)?,
        };
        Ok(Self { replaced: apdu.p1, kvn, keys })
    }

    /// The key set in it.
    ///
    /// # Errors
    /// `6A80`: another kind of key, or a key that does not fit its check value.
    pub fn key_set(&self, authority: Authority<'_>) -> Result<PresentedSet, Status> {
        match &self.keys {
            Keys::Set(components) => presented_set(authority, self.kvn, components),
            _ => Err(Status::WRONG_DATA),
        }
    }
}

fn key_set(mut components: &[u8]) -> Result<[AesComponent<'_>; 3], Status> {
    let set = [aes(&mut components)?, aes(&mut components)?, aes(&mut components)?];
    if components.is_empty() { Ok(set) } else { Err(Status::WRONG_DATA) }
}

fn aes<'a>(components: &mut &'a [u8]) -> Result<AesComponent<'a>, Status> {
    let encrypted = component(components, AES)?;
    let check_value = prefixed(components)?;
    Ok(AesComponent { encrypted, check_value })
}

/// The value of the next component, which must be of this type.
fn component<'a>(components: &mut &'a [u8], wanted: u8) -> Result<&'a [u8], Status> {
    let mut reader = TlvReader::new(components);
    let next = reader.next_object().map_err(malformed)?;
    *components = reader.remaining();
    next.filter(|(kind, _)| *kind == u32::from(wanted)).map(|(_, value)| value).ok_or(Status::WRONG_DATA)
}

/// A value after its length in one byte.
fn prefixed<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Status> {
    let (&length, rest) = bytes.split_first().ok_or(Status::WRONG_DATA)?;
    let (value, rest) = rest.split_at_checked(length.into()).ok_or(Status::WRONG_DATA)?;
    *bytes = rest;
    Ok(value)
}

fn elliptic(kid: u8, mut components: &[u8]) -> Result<Keys<'_>, Status> {
    let keys = match (Purpose::of(kid), components.first()) {
        (Some(Purpose::KeyAgreement(_)), Some(&EC_PRIVATE)) => {
            Keys::Private { kid, scalar: component(&mut components, EC_PRIVATE)? }
        }
        (Some(Purpose::Authority), Some(&EC_PUBLIC)) => {
            Keys::Public { kid, point: component(&mut components, EC_PUBLIC)? }
        }
        (None, _) => return Err(Status::INCORRECT_P1_P2),
        _ => return Err(Status::WRONG_DATA),
    };
    let curve = component(&mut components, EC_PARAMETERS)?;
    let ends = prefixed(&mut components)?.is_empty() && components.is_empty();
    if curve == [P256] && ends { Ok(keys) } else { Err(Status::WRONG_DATA) }
}

/// PUT KEY. Answers the new version and what the terminal checks the keys by.
///
/// # Errors
/// A status word for the terminal; no key has changed.
pub fn put_key<C: SecurityDomains>(
    authority: Authority<'_>,
    services: &mut Services<'_, C>,
    domain: Domain,
    PutKey { replaced, kvn, keys }: &PutKey<'_>,
) -> Result<Vec<u8>, Status> {
    match keys {
        Keys::Set(components) => {
            let set = presented_set(authority, *kvn, components)?;
            put_set(authority, services, domain, *replaced, set)
        }
        Keys::Private { kid, scalar } => {
            let scalar = decrypted(authority, scalar)?;
            let key = PrivateKey::from_bytes(Algorithm::P256, &scalar).map_err(|_| Status::WRONG_DATA)?;
            put_elliptic(
                services,
                domain,
                *replaced,
                &StoredEcKey::private(KeyName { kid: *kid, kvn: *kvn }, &key),
            )
        }
        Keys::Public { kid, point } => {
            let key = VerifyingKey::from_point(point).map_err(|_| Status::WRONG_DATA)?;
            put_elliptic(
                services,
                domain,
                *replaced,
                &StoredEcKey::public(KeyName { kid: *kid, kvn: *kvn }, &key),
            )
        }
    }
}

fn put_set<C: SecurityDomains>(
    authority: Authority<'_>,
    services: &mut Services<'_, C>,
    domain: Domain,
    replaced: u8,
    PresentedSet { kvn, keys, answer }: PresentedSet,
) -> Result<Vec<u8>, Status> {
    let mut registry = Registry::load(services.nvm())?;
    let set = StoredKeySet::new(kvn, implementation(&registry, domain, kvn), keys);
    let replaced = replaced_set(authority, services.nvm(), domain, replaced)?;
    let slot = slot_of_set(services.nvm(), domain, replaced, kvn)?;
    services.commit(personalised(&mut registry, domain, set.put(Change::new(), domain, slot))?)?;
    Ok(answer)
}

fn presented_set(
    authority: Authority<'_>,
    kvn: u8,
    components: &[AesComponent<'_>; 3],
) -> Result<PresentedSet, Status> {
    let [enc, mac, dek] = components.map(|component| aes_key(authority, component));
    let keys = [enc?, mac?, dek?];
    let mut answer = Vec::from([kvn]);
    for key in &keys {
        answer.extend(check_value(&key.0)?);
    }
    if keys.iter().any(|key| key.0.len() != keys[0].0.len()) {
        return Err(Status::WRONG_DATA);
    }
    Ok(PresentedSet { kvn, keys, answer })
}

/// Decrypts a key and compares its check value. The clear length may stand before the encrypted value, and must where
/// the key had to be padded (Amendment D, table 7-11).
fn aes_key(authority: Authority<'_>, component: AesComponent<'_>) -> Result<Secret, Status> {
    let (length, encrypted) = match component.encrypted {
        [length, encrypted @ ..] if encrypted.len().is_multiple_of(AES_BLOCK) => {
            (usize::from(*length), encrypted)
        }
        encrypted => (encrypted.len(), encrypted),
    };
    let mut key = decrypted(authority, encrypted)?;
    if length > key.len() || key.len() - length >= AES_BLOCK {
        return Err(Status::WRONG_DATA);
    }
    key.truncate(length);
    let expected = check_value(&key)?;
    if component.check_value.is_empty() || component.check_value == expected {
        Ok(Secret(key.to_vec()))
    } else {
        Err(Status::WRONG_DATA)
    }
}

fn decrypted(authority: Authority<'_>, encrypted: &[u8]) -> Result<Zeroizing<Vec<u8>>, Status> {
    let mut key = Zeroizing::new(encrypted.to_vec());
    authority.dek().decrypt(&[0; AES_BLOCK], &mut key).map_err(|_| Status::WRONG_DATA)?;
    Ok(key)
}

fn implementation(registry: &Registry, domain: Domain, kvn: u8) -> Implementation {
    match kvn {
        0x50..=0x5F => Implementation::PseudoRandomS16,
        0x60..=0x6F => Implementation::RandomS8,
        _ => registry.implementation(domain),
    }
}

/// Where the new set goes. Another set of the same version must not be there.
fn slot_of_set<C: SecurityDomains>(
    nvm: Part<'_, C>,
    domain: Domain,
    replaced: u8,
    kvn: u8,
) -> Result<u16, Status> {
    if kvn != replaced && key_set::find(nvm, domain, kvn)?.is_some() {
        return Err(Status::WRONG_DATA);
    }
    match replaced {
        0 => key_set::free_slot(nvm, domain),
        replaced => {
            let found = key_set::find(nvm, domain, replaced)?;
            Ok(found.ok_or(Status::REFERENCED_DATA_NOT_FOUND)?.slot)
        }
    }
}

/// The first set that is put under the one that a card is born with takes its place.
fn replaced_set<C: SecurityDomains>(
    authority: Authority<'_>,
    nvm: Part<'_, C>,
    domain: Domain,
    replaced: u8,
) -> Result<u8, Status> {
    let is_first =
        replaced == 0 && authority.kvn() == INITIAL_KVN && key_set::find(nvm, domain, INITIAL_KVN)?.is_some();
    Ok(if is_first { INITIAL_KVN } else { replaced })
}

/// A further domain with keys of its own is personalised.
fn personalised<C: SecurityDomains>(
    registry: &mut Registry,
    domain: Domain,
    change: Change<C>,
) -> Result<Change<C>, Status> {
    if domain.is_issuer() {
        return Ok(change);
    }
    registry.further(domain)?.state.life_cycle = LifeCycle::Personalized;
    Ok(registry.put(change))
}

fn put_elliptic<C: SecurityDomains>(
    services: &mut Services<'_, C>,
    domain: Domain,
    replaced: u8,
    key: &StoredEcKey,
) -> Result<Vec<u8>, Status> {
    let slot = slot_of_key(services.nvm(), domain, replaced, key.name())?;
    services.commit(key.put(Change::new(), domain, slot))?;
    Ok(Vec::from([key.name().kvn]))
}

fn slot_of_key<C: SecurityDomains>(
    nvm: Part<'_, C>,
    domain: Domain,
    replaced: u8,
    name: KeyName,
) -> Result<u16, Status> {
    if name.kvn != replaced && ec_key::find(nvm, domain, name).is_ok() {
        return Err(Status::WRONG_DATA);
    }
    match replaced {
        0 => ec_key::free_slot(nvm, domain),
        kvn => Ok(ec_key::find(nvm, domain, KeyName { kvn, ..name })?.slot),
    }
}

/// GENERATE KEY: a new key for key agreement. Answers its point.
///
/// # Errors
/// A status word for the terminal; no key has changed.
pub fn generate_key<C: SecurityDomains>(
    _: Authority<'_>,
    services: &mut Services<'_, C>,
    domain: Domain,
    replaced: u8,
    name: KeyName,
) -> Result<Vec<u8>, Status> {
    if !matches!(Purpose::of(name.kid), Some(Purpose::KeyAgreement(_))) {
        return Err(Status::INCORRECT_P1_P2);
    }
    if !matches!(name.kvn, 0x01..=0x7F) {
        return Err(Status::WRONG_DATA);
    }
    let key = PrivateKey::generate(Algorithm::P256, &mut services.rng()).map_err(|_| Status::UNSPECIFIED)?;
    put_elliptic(services, domain, replaced, &StoredEcKey::private(name, &key))?;
    Ok(object(EC_PUBLIC.into(), key.public_key().as_bytes()))
}
