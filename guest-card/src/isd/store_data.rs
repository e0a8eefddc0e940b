//! STORE DATA (GlobalPlatform Card Specification 2.3.1, 11.11; Amendment F 1.3, 7.3): certificates, allowlists and CA
//! identifiers of elliptic keys, and the domain's data objects.

use alloc::vec::Vec;

use cardhost_wire::{
    status::Status,
    tlv::{self, TlvReader},
};
use zeroize::Zeroizing;

use super::{
    domain::{Domain, StoredObject},
    ec_key::{self, KeyName},
    malformed,
};
use crate::{
    blocks::Blocks,
    container::SecurityDomains,
    nvm::{Change, Part},
    scp::Authority,
    services::Services,
};

/// Longest serial number of a certificate (RFC 5280, 4.1.2.2), a leading zero included.
const LONGEST_SERIAL: usize = 21;

/// STORE DATA.
///
/// # Errors
/// `6A88`: the key that data are for is not there; `6A80`: not data that can be stored. Nothing has changed.
pub fn store_data<C: SecurityDomains>(
    _: Authority<'_>,
    services: &mut Services<'_, C>,
    domain: Domain,
    blocks: &mut Blocks,
    (last, number, block): (bool, u8, &[u8]),
) -> Result<(), Status> {
    let Some(data) = blocks.add(last, number, block)? else { return Ok(()) };
    let mut reader = TlvReader::new(&data);
    let mut change = Change::new();
    let mut reference = None;
    while let Some(next) = reader.next_object().map_err(malformed)? {
        change = match next {
            (0xA6, template) => {
                let key = KeyTemplate::parse(services.nvm(), domain, template)?;
                let change = key.put_ca_identifier(change, domain);
                reference = Some(key.slot);
                change
            }
            (0xBF21, chain) => change.put(domain.certificates(named(reference)?), owned(chain)),
            // An empty list lifts the restriction, as Yubico's clients expect.
            (0x70, []) => change.delete(domain.allowlist(named(reference)?)),
            (0x70, list) => change.put(domain.allowlist(named(reference)?), owned(serials(list)?)),
            (tag, value) => put_object(change, domain, tag, value)?,
        };
    }
    services.commit(change)
}

fn owned(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(bytes.to_vec())
}

/// The place of the key that the template before named.
fn named(reference: Option<u16>) -> Result<u16, Status> {
    reference.ok_or(Status::WRONG_DATA)
}

/// Control reference template A6: `83` the key; `42` the identifier of its authority, `80` of which kind.
struct KeyTemplate<'a> {
    slot: u16,
    ca_identifier: Option<&'a [u8]>,
}

impl<'a> KeyTemplate<'a> {
    fn parse<C: SecurityDomains>(
        nvm: Part<'_, C>,
        domain: Domain,
        template: &'a [u8],
    ) -> Result<Self, Status> {
        let (mut name, mut ca_identifier) = (None, None);
        let mut reader = TlvReader::new(template);
        while let Some(next) = reader.next_object().map_err(malformed)? {
            match next {
                (0x83, &[kid, kvn]) => name = Some(KeyName { kid, kvn }),
                (0x42, identifier @ [_, ..]) => ca_identifier = Some(identifier),
                (0x80, &[0 | 1]) => {} // Whose authority it is, the key's identifier tells.
                _ => return Err(Status::WRONG_DATA),
            }
        }
        let slot = ec_key::find(nvm, domain, name.ok_or(Status::WRONG_DATA)?)?.slot;
        Ok(Self { slot, ca_identifier })
    }

    fn put_ca_identifier<C: SecurityDomains>(&self, change: Change<C>, domain: Domain) -> Change<C> {
        match self.ca_identifier {
            Some(identifier) => change.put(domain.ca_identifier(self.slot), owned(identifier)),
            None => change,
        }
    }
}

/// Checks a list of serial numbers, each `93`.
fn serials(list: &[u8]) -> Result<&[u8], Status> {
    let mut reader = TlvReader::new(list);
    while let Some(next) = reader.next_object().map_err(malformed)? {
        if !matches!(next, (0x93, serial) if matches!(serial.len(), 1..=LONGEST_SERIAL)) {
            return Err(Status::WRONG_DATA);
        }
    }
    Ok(list)
}

fn put_object<C: SecurityDomains>(
    change: Change<C>,
    domain: Domain,
    tag: tlv::Tag,
    value: &[u8],
) -> Result<Change<C>, Status> {
    let object = StoredObject::of(tag).ok_or(Status::WRONG_DATA)?;
    if value.len() > object.longest() {
        return Err(Status::WRONG_DATA);
    }
    Ok(change.put(domain.object(object), owned(value)))
}
