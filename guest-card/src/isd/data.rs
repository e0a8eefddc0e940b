//! GET DATA (GlobalPlatform Card Specification 2.3.1, 11.3 and appendix H; Amendment F 1.3, 7.2). All of it is public.

use alloc::vec::Vec;

use cardhost_wire::{
    aid::Aid,
    apdu::CommandApdu,
    control::CardId,
    status::Status,
    tlv::{self, Tag, object},
};

use super::{
    domain::{Domain, StoredObject},
    ec_key::{self, KeyName, Purpose},
    key_set::{self, KEY_IDS},
    malformed,
    put_key::{AES, EC_PARAMETERS, EC_PRIVATE, EC_PUBLIC, P256},
    registry::{Privileges, Registry},
};
use crate::{
    container::SecurityDomains,
    nvm::Part,
    scp::{scp03, scp11},
};

/// {globalPlatform} 1.2.840.114283 and one arc more.
const GLOBAL_PLATFORM: [u8; 6] = [0x2A, 0x86, 0x48, 0x86, 0xFC, 0x6B];
/// The version of the card specification: 2.3.1.
const VERSION: [u8; 3] = [2, 3, 1];
/// SCP11 and its parameter "i": all three variants.
const SCP11: [u8; 2] = [scp11::PROTOCOL, 0x07];
/// Length of a P-256 scalar, and of the value that names its curve.
const SCALAR: u8 = 32;
const POINT: u8 = 65;
const CURVE: u8 = 1;
const CPLC: usize = 42;
/// AES-128, AES-192 and AES-256 (table H-8).
const AES_LENGTHS: u8 = 0x07;

/// GET DATA.
pub struct GetData<'a> {
    tag: Tag,
    /// With tag and length around the value, as the card specification has it. ISO/IEC 7816-4, 11.4.3, has the value
    /// alone, and its class byte tells.
    whole: bool,
    /// A template that says which of several is meant.
    narrowed: &'a [u8],
}

impl<'a> GetData<'a> {
    /// Parses the command.
    pub const fn parse(apdu: &CommandApdu<'a>) -> Self {
        Self { tag: apdu.p1_p2() as Tag, whole: apdu.cla & 0x80 != 0, narrowed: apdu.data }
    }
}

/// What a command asks for.
///
/// # Errors
/// `6A88`: it is not there.
pub fn read<C: SecurityDomains>(
    nvm: Part<'_, C>,
    card: &CardId,
    domain: Domain,
    command: &GetData<'_>,
) -> Result<Vec<u8>, Status> {
    let value = value(nvm, card, domain, command)?;
    Ok(if command.whole { object(command.tag, &value) } else { value })
}

fn value<C: SecurityDomains>(
    nvm: Part<'_, C>,
    card: &CardId,
    domain: Domain,
    command: &GetData<'_>,
) -> Result<Vec<u8>, Status> {
    let GetData { tag, narrowed, .. } = *command;
    match tag {
        0x66 => Ok(recognition(&Registry::load(nvm)?, domain)),
        0x67 => Ok(capabilities()),
        0xE0 => key_information(nvm, domain),
        0xC1 => sequence_counter(nvm, domain),
        0xCF => Ok(diversification(card).to_vec()),
        0x2F00 => applications(nvm),
        0xBF21 => certificates(nvm, domain, narrowed),
        0xFF33 => ca_identifiers(nvm, domain, |purpose| purpose == Purpose::Authority),
        0xFF34 => ca_identifiers(nvm, domain, |purpose| purpose != Purpose::Authority),
        _ => stored(nvm, card, domain, tag),
    }
}

/// The data that keys may be diversified by: the beginning of the card's identity.
pub fn diversification(card: &CardId) -> [u8; scp03::DIVERSIFICATION] {
    *card.first_chunk().expect("an identity is longer")
}

/// The FCI that SELECT answers (11.9.3.1): AID, and in `A5` the security domain management data and the longest data
/// field of a command.
pub fn select_response(registry: &Registry, domain: Domain) -> Vec<u8> {
    let proprietary = [recognition(registry, domain), object(0x9F65, &[0xFF])].concat();
    object(0x6F, &[object(0x84, registry.aid(domain)), object(0xA5, &proprietary)].concat())
}

/// Card recognition data (appendix H.2), also the security domain management data (H.3).
fn recognition(registry: &Registry, domain: Domain) -> Vec<u8> {
    let oid = |arcs: &[u8]| object(0x06, &[&GLOBAL_PLATFORM, arcs].concat());
    let protocol = |protocol: &[u8; 2]| object(0x64, &oid(&[&[4], &protocol[..]].concat()));
    let scp03 = [scp03::PROTOCOL, registry.implementation(domain).value()];
    let content = [
        oid(&[1]),
        object(0x60, &oid(&[&[2], &VERSION[..]].concat())),
        object(0x63, &oid(&[3])),
        protocol(&scp03),
        protocol(&SCP11),
    ];
    object(0x73, &content.concat())
}

/// Card capability information (appendix H.4): secure channel protocols, what privileges a further domain and an
/// application can have, curves.
fn capabilities() -> Vec<u8> {
    let scp03 = [
        object(0x80, &[scp03::PROTOCOL]),
        object(0x81, &scp03::Implementation::ALL.map(scp03::Implementation::value)),
        object(0x82, &[AES_LENGTHS]),
    ];
    let content = [
        object(0xA0, &scp03.concat()),
        object(0xA0, &[object(0x80, &SCP11[..1]), object(0x81, &SCP11[1..])].concat()),
        object(0x81, &Privileges::SECURITY_DOMAIN.0),
        object(0x82, &Privileges::NONE.0),
        object(0x88, &[P256]),
    ];
    content.concat()
}

/// Key information template (11.3.3.1.1).
fn key_information<C: SecurityDomains>(nvm: Part<'_, C>, domain: Domain) -> Result<Vec<u8>, Status> {
    let mut template = Vec::new();
    for key_set::Found { set, .. } in key_set::all(nvm, domain)? {
        for (kid, key) in KEY_IDS.into_iter().zip(set.keys()) {
            tlv::push(&mut template, 0xC0, &[kid, set.kvn(), AES, key.0.len() as u8]);
        }
    }
    for ec_key::Found { key, .. } in ec_key::all(nvm, domain)? {
        let KeyName { kid, kvn } = key.name();
        let (kind, length) = if key.is_private() { (EC_PRIVATE, SCALAR) } else { (EC_PUBLIC, POINT) };
        tlv::push(&mut template, 0xC0, &[kid, kvn, kind, length, EC_PARAMETERS, CURVE]);
    }
    Ok(template)
}

/// The counter of the set that KVN 0 means.
fn sequence_counter<C: SecurityDomains>(nvm: Part<'_, C>, domain: Domain) -> Result<Vec<u8>, Status> {
    let found = key_set::find(nvm, domain, 0)?.ok_or(Status::REFERENCED_DATA_NOT_FOUND)?;
    let counter = key_set::counter(nvm, domain, found.slot)?.to_be_bytes();
    Ok(counter[1..].to_vec())
}

/// `61` for each application that can be selected.
fn applications<C: SecurityDomains>(nvm: Part<'_, C>) -> Result<Vec<u8>, Status> {
    let registry = Registry::load(nvm)?;
    let piv = (C::HAS_PIV && registry.piv.is_selectable()).then_some(Aid::PIV.as_bytes());
    let domains = registry.domains().iter().filter(|further| further.state.is_selectable());
    let aids =
        [Aid::SHARED_ROOT.as_bytes()].into_iter().chain(piv).chain(domains.map(|further| &further.aid[..]));
    Ok(aids.flat_map(|aid| object(0x61, &object(0x4F, aid))).collect())
}

/// The certificates of the key that `A6 83` names, leaf last.
fn certificates<C: SecurityDomains>(
    nvm: Part<'_, C>,
    domain: Domain,
    narrowed: &[u8],
) -> Result<Vec<u8>, Status> {
    let template = tlv::only(narrowed, 0xA6).map_err(malformed)?;
    let &[kid, kvn] = tlv::only(template, 0x83).map_err(malformed)? else { return Err(Status::WRONG_DATA) };
    let slot = ec_key::find(nvm, domain, KeyName { kid, kvn })?.slot;
    nvm.read(domain.certificates(slot)).map(<[u8]>::to_vec).ok_or(Status::REFERENCED_DATA_NOT_FOUND)
}

/// For each key of these with an authority: `42` its identifier, `83` the key.
fn ca_identifiers<C: SecurityDomains>(
    nvm: Part<'_, C>,
    domain: Domain,
    wanted: impl Fn(Purpose) -> bool,
) -> Result<Vec<u8>, Status> {
    let mut list = Vec::new();
    for ec_key::Found { slot, key } in ec_key::all(nvm, domain)? {
        let KeyName { kid, kvn } = key.name();
        let identifier = nvm.read(domain.ca_identifier(slot));
        if let Some(identifier) = identifier.filter(|_| Purpose::of(kid).is_some_and(&wanted)) {
            tlv::push(&mut list, 0x42, identifier);
            tlv::push(&mut list, 0x83, &[kid, kvn]);
        }
    }
    if list.is_empty() { Err(Status::REFERENCED_DATA_NOT_FOUND) } else { Ok(list) }
}

fn stored<C: SecurityDomains>(
    nvm: Part<'_, C>,
    card: &CardId,
    domain: Domain,
    tag: Tag,
) -> Result<Vec<u8>, Status> {
    let wanted = StoredObject::of(tag).ok_or(Status::REFERENCED_DATA_NOT_FOUND)?;
    match (nvm.read(domain.object(wanted)), wanted) {
        (Some(content), _) => Ok(content.to_vec()),
        (None, StoredObject::Cplc) => Ok(life_cycle_data(card).to_vec()),
        (None, _) => Err(Status::REFERENCED_DATA_NOT_FOUND),
    }
}

/// Card production life cycle data of a card that was never produced: all zero but IC serial number and batch.
fn life_cycle_data(card: &CardId) -> [u8; CPLC] {
    let mut data = [0; CPLC];
    data[12..18].copy_from_slice(&card[..6]);
    data
}
