//! Yubico's instructions, as a card of version 5.4.3 answers them.

use alloc::vec::Vec;

use cardhost_wire::{
    apdu::CommandApdu,
    key::KeyReference,
    status::Status,
    tlv::{TlvReader, object},
};

use super::{
    algorithm, attestation,
    command::{expect_no_data, expect_p1_p2},
    done,
    generate::public_key_objects,
    identity,
    keys::{ATTESTATION, KeyRecord, LoadedKeys},
    malformed,
    management::ManagementKey,
    personalisation, record,
    reference_data::{Counters, Reference, ReferenceData},
    session::Session,
};
use crate::{
    nvm::{Change, Part, Partition},
    services::Services,
};

/// What version clients take us for: the last one whose metadata, key types and policies are all ours.
pub(super) const VERSION: [u8; 3] = [5, 4, 3];
/// "Never", the touch policy of every key: nobody can touch this card.
pub(super) const TOUCH_NEVER: u8 = 1;

/// An instruction of Yubico's.
pub(super) enum YubicoCommand<'a> {
    /// F6: moves a key to an empty slot, or erases it.
    MoveKey { from: KeyReference, to: Option<KeyReference> },
    /// F7.
    Metadata(MetadataOf),
    /// F8.
    Serial,
    /// F9: a certificate over a key made here.
    Attest(KeyReference),
    /// FA: new counters, with the well-known PIN and PUK.
    SetPinRetries { pin: u8, puk: u8 },
    /// FB: back to the beginning.
    Reset,
    /// FD.
    Version,
    /// FE.
    ImportKey,
    /// FF: algorithm identifier and key.
    SetManagementKey { algorithm: u8, key: &'a [u8] },
}

/// What metadata are asked of.
pub(super) enum MetadataOf {
    /// 80 or 81.
    Reference(Reference),
    /// 9B.
    ManagementKey,
    /// A slot.
    Key(KeyReference),
}

impl<'a> YubicoCommand<'a> {
    /// Parses a command that is none of SP 800-73's.
    pub(super) fn parse(apdu: &CommandApdu<'a>) -> Result<Self, Status> {
        match apdu.ins {
            0xF6 => parse_move_key(apdu),
            0xF7 => metadata_of(apdu).map(Self::Metadata),
            0xF8 => expect_p1_p2(apdu, 0).map(|()| Self::Serial),
            0xF9 => parse_attest(apdu),
            0xFA => parse_set_pin_retries(apdu),
            0xFB => expect_p1_p2(apdu, 0).and_then(|()| expect_no_data(apdu)).map(|()| Self::Reset),
            0xFD => expect_p1_p2(apdu, 0).map(|()| Self::Version),
            0xFE => Ok(Self::ImportKey),
            0xFF => parse_set_management_key(apdu),
            _ => Err(Status::INSTRUCTION_NOT_SUPPORTED),
        }
    }
}

fn parse_move_key<'a>(apdu: &CommandApdu<'a>) -> Result<YubicoCommand<'a>, Status> {
    expect_no_data(apdu)?;
    let from = KeyReference(apdu.p2);
    match KeyReference(apdu.p1) {
        _ if !from.is_user_key() => Err(Status::INCORRECT_P1_P2),
        KeyReference(0xFF) => Ok(YubicoCommand::MoveKey { from, to: None }),
        to if to.is_user_key() && to != from => Ok(YubicoCommand::MoveKey { from, to: Some(to) }),
        _ => Err(Status::INCORRECT_P1_P2),
    }
}

const fn metadata_of(apdu: &CommandApdu<'_>) -> Result<MetadataOf, Status> {
    let reference = KeyReference(apdu.p2);
    match apdu.p2 {
        _ if apdu.p1 != 0 => Err(Status::INCORRECT_P1_P2),
        0x80 => Ok(MetadataOf::Reference(Reference::Pin)),
        0x81 => Ok(MetadataOf::Reference(Reference::Puk)),
        0x9B => Ok(MetadataOf::ManagementKey),
        0xF9 => Ok(MetadataOf::Key(ATTESTATION)),
        _ if reference.is_user_key() => Ok(MetadataOf::Key(reference)),
        _ => Err(Status::REFERENCED_DATA_NOT_FOUND),
    }
}

fn parse_attest<'a>(apdu: &CommandApdu<'a>) -> Result<YubicoCommand<'a>, Status> {
    expect_no_data(apdu)?;
    let reference = KeyReference(apdu.p1);
    let known = reference.is_user_key() || reference == ATTESTATION;
    if known && apdu.p2 == 0 { Ok(YubicoCommand::Attest(reference)) } else { Err(Status::INCORRECT_P1_P2) }
}

fn parse_set_pin_retries<'a>(apdu: &CommandApdu<'a>) -> Result<YubicoCommand<'a>, Status> {
    expect_no_data(apdu)?;
    match (apdu.p1, apdu.p2) {
        (0, _) | (_, 0) => Err(Status::INCORRECT_P1_P2),
        (pin, puk) => Ok(YubicoCommand::SetPinRetries { pin, puk }),
    }
}

/// Algorithm, then `9B len key`; P2 `FE` would ask for touch.
fn parse_set_management_key<'a>(apdu: &CommandApdu<'a>) -> Result<YubicoCommand<'a>, Status> {
    if apdu.p1 != 0xFF || !matches!(apdu.p2, 0xFE | 0xFF) {
        return Err(Status::INCORRECT_P1_P2);
    }
    let (&algorithm, rest) = apdu.data.split_first().ok_or(Status::WRONG_LENGTH)?;
    let mut reader = TlvReader::new(rest);
    match reader.next_object().map_err(malformed)? {
        Some((0x9B, key)) if reader.remaining().is_empty() => {
            Ok(YubicoCommand::SetManagementKey { algorithm, key })
        }
        _ => Err(Status::WRONG_DATA),
    }
}

/// Executes one of Yubico's instructions.
pub(super) fn yubico(
    loaded: &mut LoadedKeys,
    session: &mut Session,
    services: &mut Services<'_>,
    command: &YubicoCommand<'_>,
) -> Result<Vec<u8>, Status> {
    match command {
        YubicoCommand::MoveKey { from, to } => done(move_key(loaded, session, services, *from, *to)),
        YubicoCommand::Metadata(of) => metadata(services.nvm(), of),
        YubicoCommand::Serial => Ok(identity::serial(&services.card()).to_be_bytes().to_vec()),
        YubicoCommand::Attest(reference) => attestation::attest(loaded, services, *reference),
        YubicoCommand::SetPinRetries { pin, puk } => done(set_tries(session, services, *pin, *puk)),
        YubicoCommand::Reset => done(reset(loaded, session, services)),
        YubicoCommand::Version => Ok(VERSION.to_vec()),
        YubicoCommand::ImportKey => refuse_import(session),
        YubicoCommand::SetManagementKey { algorithm, key } => {
            done(set_key(session, services, *algorithm, key))
        }
    }
}

fn move_key(
    loaded: &mut LoadedKeys,
    session: &Session,
    services: &mut Services<'_>,
    from: KeyReference,
    to: Option<KeyReference>,
) -> Result<(), Status> {
    session.management()?;
    let key = KeyRecord::load(services.nvm(), from)?.ok_or(Status::REFERENCED_DATA_NOT_FOUND)?;
    let mut change = Change::new().delete(record::key(from));
    if let Some(to) = to {
        if services.nvm().read(record::key(to)).is_some() {
            return Err(Status::CONDITIONS_NOT_SATISFIED);
        }
        change = change.put(record::key(to), record::encode(&key));
    }
    services.commit(change)?;
    loaded.forget(from);
    Ok(())
}

/// RESET: only when PIN and PUK are blocked. No key, object or secret outlives it.
fn reset(loaded: &mut LoadedKeys, session: &mut Session, services: &mut Services<'_>) -> Result<(), Status> {
    if !ReferenceData::load(services.nvm())?.is_blocked() {
        return Err(Status::CONDITIONS_NOT_SATISFIED);
    }
    let everything = services.nvm().names(Partition::PIV).fold(Change::new(), Change::delete);
    services.commit(everything.and(personalisation::well_known(&services.card())))?;
    loaded.forget_all();
    *session = Session::default();
    Ok(())
}

/// No card's policy allows keys from outside so far.
fn refuse_import(session: &Session) -> Result<Vec<u8>, Status> {
    session.management()?;
    Err(Status::CONDITIONS_NOT_SATISFIED)
}

fn set_tries(session: &mut Session, services: &mut Services<'_>, pin: u8, puk: u8) -> Result<(), Status> {
    session.management()?;
    session.pin().ok_or(Status::SECURITY_STATUS_NOT_SATISFIED)?;
    ReferenceData::with_tries(pin, puk).commit(services)?;
    session.forget_pin();
    Ok(())
}

fn set_key(session: &Session, services: &mut Services<'_>, identifier: u8, key: &[u8]) -> Result<(), Status> {
    session.management()?;
    let algorithm = algorithm::cipher(identifier).ok_or(Status::WRONG_DATA)?;
    let key = ManagementKey::new(algorithm, key).ok_or(Status::WRONG_DATA)?;
    services.commit(key.put(Change::new()))
}

fn metadata(nvm: Part<'_>, of: &MetadataOf) -> Result<Vec<u8>, Status> {
    match of {
        MetadataOf::Reference(which) => Ok(reference_metadata(&ReferenceData::load(nvm)?.counters(*which))),
        MetadataOf::ManagementKey => ManagementKey::load(nvm).map(|key| management_metadata(&key)),
        MetadataOf::Key(reference) => match KeyRecord::load(nvm, *reference)? {
            Some(key) => Ok(key_metadata(&key)),
            None => Err(Status::REFERENCED_DATA_NOT_FOUND),
        },
    }
}

/// 01 no algorithm, 05 is it the well-known value, 06 all and remaining tries.
fn reference_metadata(counters: &Counters) -> Vec<u8> {
    let tries = [counters.tries, counters.remaining];
    [object(0x01, &[0xFF]), object(0x05, &[u8::from(counters.is_default)]), object(0x06, &tries)].concat()
}

fn management_metadata(key: &ManagementKey) -> Vec<u8> {
    let algorithm = object(0x01, &[key.algorithm_identifier()]);
    [algorithm, object(0x02, &[0, TOUCH_NEVER]), object(0x05, &[u8::from(key.is_well_known())])].concat()
}

/// 01 algorithm, 02 PIN and touch policy, 03 origin, 04 public key.
fn key_metadata(key: &KeyRecord) -> Vec<u8> {
    [
        object(0x01, &[algorithm::asymmetric_identifier(key.algorithm())]),
        object(0x02, &[key.pin_policy().value(), TOUCH_NEVER]),
        object(0x03, &[key.origin().value()]),
        object(0x04, &public_key_objects(&key.public_key())),
    ]
    .concat()
}
