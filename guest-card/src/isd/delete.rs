//! DELETE of keys and of security domains (GlobalPlatform Card Specification 2.3.1, 11.2).

use alloc::vec::Vec;

use cardhost_wire::{apdu::CommandApdu, status::Status, tlv::TlvReader};

use super::{
    domain::Domain,
    ec_key, key_set,
    key_set::KEY_IDS,
    malformed,
    registry::{Registered, Registry},
};
use crate::{
    container::SecurityDomains,
    nvm::{Change, Part},
    scp::Authority,
    services::Services,
};

/// P2: also what is related to the object.
const RELATED: u8 = 0x80;
/// P2 (Yubico): also the last key set.
const LAST: u8 = 0x01;
/// Length of the confirmation of a deletion (11.2.3.1): there is none.
const NO_CONFIRMATION: u8 = 0;

/// DELETE.
pub enum Delete<'a> {
    /// `D0` identifier and `D2` version, at least one.
    Keys { kid: Option<u8>, kvn: Option<u8>, last: bool },
    /// `4F`.
    Application(&'a [u8]),
}

impl<'a> Delete<'a> {
    /// Parses the command.
    ///
    /// # Errors
    /// A status word for the terminal.
    pub fn parse(apdu: &CommandApdu<'a>) -> Result<Self, Status> {
        if apdu.p1 != 0 || apdu.p2 & !(RELATED | LAST) != 0 {
            return Err(Status::INCORRECT_P1_P2);
        }
        let (mut aid, mut kid, mut kvn) = (None, None, None);
        let mut reader = TlvReader::new(apdu.data);
        while let Some(next) = reader.next_object().map_err(malformed)? {
            match next {
                (0x4F, value) => aid = Some(value),
                (0xD0, &[value]) => kid = Some(value),
                (0xD2, &[value]) => kvn = Some(value),
                _ => return Err(Status::WRONG_DATA),
            }
        }
        match (aid, kid, kvn) {
            (Some(aid), None, None) => Ok(Self::Application(aid)),
            (Some(_), ..) | (None, None, None) => Err(Status::WRONG_DATA),
            (None, kid, kvn) => Ok(Self::Keys { kid, kvn, last: apdu.p2 & LAST != 0 }),
        }
    }
}

/// DELETE. Returns the response data.
///
/// # Errors
/// `6A88`: there is nothing to delete; `6985`: it may not go; nothing has changed.
pub fn delete<C: SecurityDomains>(
    _: Authority<'_>,
    services: &mut Services<'_, C>,
    domain: Domain,
    delete: &Delete<'_>,
) -> Result<Vec<u8>, Status> {
    match delete {
        Delete::Keys { kid, kvn, last } => {
            delete_keys(services, domain, *kid, *kvn, *last).map(|()| Vec::new())
        }
        Delete::Application(aid) => {
            delete_application(services, domain, aid).map(|()| Vec::from([NO_CONFIRMATION]))
        }
    }
}

/// All keys that fit both. A key set goes whole, so an identifier alone names none.
fn delete_keys<C: SecurityDomains>(
    services: &mut Services<'_, C>,
    domain: Domain,
    kid: Option<u8>,
    kvn: Option<u8>,
    last: bool,
) -> Result<(), Status> {
    let names_set = kvn.is_some() && kid.is_none_or(|kid| KEY_IDS.contains(&kid));
    let sets = key_set::all(services.nvm(), domain)?;
    let goes = |found: &key_set::Found| names_set && fits(kvn, found.set.kvn());
    let (sets, kept): (Vec<_>, Vec<_>) = sets.into_iter().partition(goes);
    let mut keys = ec_key::all(services.nvm(), domain)?;
    keys.retain(|found| fits(kid, found.key.name().kid) && fits(kvn, found.key.name().kvn));
    if sets.is_empty() && keys.is_empty() {
        return Err(Status::REFERENCED_DATA_NOT_FOUND);
    }
    if domain.is_issuer() && kept.is_empty() && !sets.is_empty() && !last {
        return Err(Status::CONDITIONS_NOT_SATISFIED);
    }
    let change = sets.iter().fold(Change::new(), |change, set| key_set::delete(change, domain, set.slot));
    services.commit(keys.iter().fold(change, |change, key| ec_key::delete(change, domain, key.slot)))
}

fn fits(wanted: Option<u8>, found: u8) -> bool {
    wanted.is_none_or(|wanted| wanted == found)
}

/// Only further domains can go, and only by the issuer's: PIV is part of the card.
fn delete_application<C: SecurityDomains>(
    services: &mut Services<'_, C>,
    domain: Domain,
    aid: &[u8],
) -> Result<(), Status> {
    let mut registry = Registry::load(services.nvm())?;
    let deleted = match registry.find::<C>(aid) {
        Some(Registered::Domain(deleted)) if domain.is_issuer() => deleted,
        Some(_) => return Err(Status::CONDITIONS_NOT_SATISFIED),
        None => return Err(Status::REFERENCED_DATA_NOT_FOUND),
    };
    if registry.piv_domain == deleted {
        return Err(Status::CONDITIONS_NOT_SATISFIED);
    }
    registry.remove(deleted);
    services.commit(registry.put(without_records(services.nvm(), deleted)))
}

/// Erases all of a domain's records.
fn without_records<C: SecurityDomains>(nvm: Part<'_, C>, domain: Domain) -> Change<C> {
    let records = domain.records();
    let names = nvm.names(C::DOMAINS).filter(|name| records.contains(&name.number()));
    names.fold(Change::new(), Change::delete)
}
