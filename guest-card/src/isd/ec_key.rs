//! Stored elliptic keys on P-256: the card's own for key agreement, and public keys of authorities (GlobalPlatform
//! Amendment F 1.3, 5).

use alloc::vec::Vec;

use cardhost_wire::{
    key::{Algorithm, Secret},
    status::Status,
};
use serde::{Deserialize, Serialize};

use super::domain::{Domain, MOST_EC_KEYS};
use crate::{
    container::SecurityDomains,
    crypto::{AgreementKey, PrivateKey, VerifyingKey},
    nvm::{Change, Part, structure},
};

/// A key's identifier and version, as clients name it in `83`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyName {
    /// Key identifier.
    pub kid: u8,
    /// Key version number.
    pub kvn: u8,
}

/// What a key identifier is for (Amendment F, table 5-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `11`, `13`, `15`: SK.SD.ECKA of SCP11a, SCP11b, SCP11c.
    KeyAgreement(Variant),
    /// `10`, `20` to `2F`: PK.CA-KLOC.ECDSA, which certifies off-card entities.
    Authority,
}

/// Which SCP11.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Mutual authentication.
    A,
    /// Only the card is authenticated.
    B,
    /// Mutual authentication with the card's static key alone.
    C,
}

impl Purpose {
    /// Reads a key identifier.
    pub const fn of(kid: u8) -> Option<Self> {
        match kid {
            0x11 => Some(Self::KeyAgreement(Variant::A)),
            0x13 => Some(Self::KeyAgreement(Variant::B)),
            0x15 => Some(Self::KeyAgreement(Variant::C)),
            0x10 | 0x20..=0x2F => Some(Self::Authority),
            _ => None,
        }
    }
}

/// An elliptic key at rest.
#[derive(Serialize, Deserialize)]
pub struct StoredEcKey {
    name: KeyName,
    /// Uncompressed.
    point: Vec<u8>,
    /// Of a key of this card's.
    scalar: Option<Secret>,
}

/// A stored key with the place that it stands in.
pub struct Found {
    /// Its number among the domain's keys.
    pub slot: u16,
    /// The key.
    pub key: StoredEcKey,
}

impl StoredEcKey {
    /// A key of this card's.
    pub fn private(name: KeyName, key: &PrivateKey) -> Self {
        let point = key.public_key().as_bytes().to_vec();
        Self { name, point, scalar: Some(Secret(key.to_bytes().to_vec())) }
    }

    /// An authority's public key.
    pub fn public(name: KeyName, key: &VerifyingKey) -> Self {
        Self { name, point: key.to_point(), scalar: None }
    }

    /// Its identifier and version.
    pub const fn name(&self) -> KeyName {
        self.name
    }

    /// True if the private half is here.
    pub const fn is_private(&self) -> bool {
        self.scalar.is_some()
    }

    /// The private half.
    ///
    /// # Errors
    /// `6A88`: it is not here; `6581`.
    pub fn private_key(&self) -> Result<PrivateKey, Status> {
        PrivateKey::from_bytes(Algorithm::P256, self.scalar()?).map_err(|_| Status::MEMORY_FAILURE)
    }

    /// The private half, where it only agrees.
    ///
    /// # Errors
    /// `6A88`: it is not here; `6581`.
    pub fn agreement_key(&self) -> Result<AgreementKey, Status> {
        AgreementKey::from_bytes(self.scalar()?).map_err(|_| Status::MEMORY_FAILURE)
    }

    fn scalar(&self) -> Result<&[u8], Status> {
        self.scalar.as_ref().map(|scalar| &scalar.0[..]).ok_or(Status::REFERENCED_DATA_NOT_FOUND)
    }

    /// The public half, to verify by.
    ///
    /// # Errors
    /// `6581`.
    pub fn verifying_key(&self) -> Result<VerifyingKey, Status> {
        VerifyingKey::from_point(&self.point).map_err(|_| Status::MEMORY_FAILURE)
    }

    /// Adds it to a change; what belonged to an earlier key in its place goes.
    pub fn put<C: SecurityDomains>(&self, change: Change<C>, domain: Domain, slot: u16) -> Change<C> {
        delete(change, domain, slot).put(domain.ec_key(slot), structure::encode(self))
    }
}

/// A domain's keys.
///
/// # Errors
/// `6581`: a record is not one of ours.
pub fn all<C: SecurityDomains>(nvm: Part<'_, C>, domain: Domain) -> Result<Vec<Found>, Status> {
    let load = |slot| Ok(structure::load(nvm, domain.ec_key(slot))?.map(|key| Found { slot, key }));
    (0..MOST_EC_KEYS).filter_map(|slot| load(slot).transpose()).collect()
}

/// The key of this name.
///
/// # Errors
/// `6A88`: there is none; `6581`.
pub fn find<C: SecurityDomains>(nvm: Part<'_, C>, domain: Domain, name: KeyName) -> Result<Found, Status> {
    let found = all(nvm, domain)?.into_iter().find(|found| found.key.name == name);
    found.ok_or(Status::REFERENCED_DATA_NOT_FOUND)
}

/// A place that holds no key.
///
/// # Errors
/// `6A84`: all do.
pub fn free_slot<C: SecurityDomains>(nvm: Part<'_, C>, domain: Domain) -> Result<u16, Status> {
    let free = |&slot: &u16| nvm.read(domain.ec_key(slot)).is_none();
    (0..MOST_EC_KEYS).find(free).ok_or(Status::NOT_ENOUGH_MEMORY)
}

/// Erases a key with its certificates, allowlist and CA identifier.
pub fn delete<C: SecurityDomains>(change: Change<C>, domain: Domain, slot: u16) -> Change<C> {
    [domain.ec_key(slot), domain.certificates(slot), domain.allowlist(slot), domain.ca_identifier(slot)]
        .into_iter()
        .fold(change, Change::delete)
}
