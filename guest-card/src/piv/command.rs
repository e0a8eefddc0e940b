//! Every command of the application, parsed once: no handler sees P1, P2 or an unread template.

use cardhost_wire::{
    apdu::CommandApdu,
    key::{Algorithm, KeyReference},
    status::Status,
    tlv::{self, TlvReader},
};

use super::{
    algorithm,
    keys::PinPolicy,
    malformed,
    object::DataObject,
    reference_data::{LENGTH, Reference, Value},
    yubico::YubicoCommand,
};
use crate::crypto::CipherAlgorithm;

/// A command of the PIV Card Application.
pub(super) enum Command<'a> {
    /// CB.
    GetData(DataObject),
    /// DB; empty content removes the object.
    PutData { object: DataObject, content: &'a [u8] },
    /// 20.
    Verify(Verify<'a>),
    /// 24.
    ChangeReferenceData { which: Reference, old: &'a Value, new: &'a Value },
    /// 2C.
    ResetRetryCounter { puk: &'a Value, pin: &'a Value },
    /// 87.
    GeneralAuthenticate(GeneralAuthenticate<'a>),
    /// 47.
    GenerateKeyPair(KeyTemplate),
    /// F6 to FF.
    Yubico(YubicoCommand<'a>),
}

/// VERIFY with the PIN's reference.
pub(super) enum Verify<'a> {
    /// Asks for the status.
    Status,
    /// Ends the verified status.
    Reset,
    /// Presents the PIN.
    Pin(&'a Value),
}

/// GENERAL AUTHENTICATE.
pub(super) struct GeneralAuthenticate<'a> {
    pub(super) key: AuthenticateKey,
    pub(super) step: DynamicAuthentication<'a>,
}

/// The key and the algorithm that the terminal names.
pub(super) enum AuthenticateKey {
    /// 9B.
    Management(CipherAlgorithm),
    /// A user's key, or another slot that may hold one.
    User { reference: KeyReference, algorithm: Algorithm },
}

/// The dynamic authentication template 7C (part 2, table 7) by what it asks.
pub(super) enum DynamicAuthentication<'a> {
    /// `80` empty.
    WitnessRequest,
    /// `80` decrypted witness, `81` the terminal's challenge.
    WitnessResponse { witness: &'a [u8], challenge: &'a [u8] },
    /// `81` empty.
    ChallengeRequest,
    /// `82` the card's challenge, encrypted.
    ChallengeResponse(&'a [u8]),
    /// `82` empty, `81` what the private key is to be used on.
    Sign(&'a [u8]),
    /// `82` empty, `85` the peer's point.
    Agree(&'a [u8]),
}

/// The control reference template AC of a key to make.
pub(super) struct KeyTemplate {
    pub(super) reference: KeyReference,
    pub(super) algorithm: Algorithm,
    /// Yubico's tag AA, unless it says "default".
    pub(super) pin_policy: Option<PinPolicy>,
}

impl<'a> Command<'a> {
    /// Parses a command; the refusal is the status word.
    pub(super) fn parse(apdu: &CommandApdu<'a>) -> Result<Self, Status> {
        match apdu.ins {
            0x20 => verify(apdu).map(Self::Verify),
            0x24 => change_reference_data(apdu),
            0x2C => reset_retry_counter(apdu),
            0x47 => key_template(apdu).map(Self::GenerateKeyPair),
            0x87 => general_authenticate(apdu).map(Self::GeneralAuthenticate),
            0xCB => get_data(apdu),
            0xDB => put_data(apdu),
            _ => YubicoCommand::parse(apdu).map(Self::Yubico),
        }
    }
}

/// Checks that P1-P2 have the only value that the command knows.
pub(super) const fn expect_p1_p2(apdu: &CommandApdu<'_>, value: u16) -> Result<(), Status> {
    if apdu.p1_p2() == value { Ok(()) } else { Err(Status::INCORRECT_P1_P2) }
}

/// Checks that the command has no data field.
pub(super) const fn expect_no_data(apdu: &CommandApdu<'_>) -> Result<(), Status> {
    if apdu.data.is_empty() { Ok(()) } else { Err(Status::WRONG_LENGTH) }
}

fn verify<'a>(apdu: &CommandApdu<'a>) -> Result<Verify<'a>, Status> {
    if reference(apdu.p2)? != Reference::Pin {
        return Err(Status::REFERENCED_DATA_NOT_FOUND);
    }
    match (apdu.p1, apdu.data) {
        (0x00, []) => Ok(Verify::Status),
        (0xFF, []) => Ok(Verify::Reset),
        (0x00, data) => value(data).map(Verify::Pin),
        _ => Err(Status::INCORRECT_P1_P2),
    }
}

/// The global PIN, the pairing code and biometrics, which this card lacks, are references that are not found.
const fn reference(p2: u8) -> Result<Reference, Status> {
    match p2 {
        0x80 => Ok(Reference::Pin),
        0x81 => Ok(Reference::Puk),
        _ => Err(Status::REFERENCED_DATA_NOT_FOUND),
    }
}

fn value(data: &[u8]) -> Result<&Value, Status> {
    data.try_into().map_err(|_| Status::WRONG_DATA)
}

fn two_values(data: &[u8]) -> Result<(&Value, &Value), Status> {
    let (first, second) = data.split_at_checked(LENGTH).ok_or(Status::WRONG_DATA)?;
    Ok((value(first)?, value(second)?))
}

fn change_reference_data<'a>(apdu: &CommandApdu<'a>) -> Result<Command<'a>, Status> {
    let which = reference(apdu.p2)?;
    let (old, new) = two_values(apdu.data)?;
    if apdu.p1 == 0 {
        Ok(Command::ChangeReferenceData { which, old, new })
    } else {
        Err(Status::INCORRECT_P1_P2)
    }
}

fn reset_retry_counter<'a>(apdu: &CommandApdu<'a>) -> Result<Command<'a>, Status> {
    if reference(apdu.p2)? != Reference::Pin {
        return Err(Status::REFERENCED_DATA_NOT_FOUND);
    }
    let (puk, pin) = two_values(apdu.data)?;
    if apdu.p1 == 0 { Ok(Command::ResetRetryCounter { puk, pin }) } else { Err(Status::INCORRECT_P1_P2) }
}

fn get_data<'a>(apdu: &CommandApdu<'a>) -> Result<Command<'a>, Status> {
    expect_p1_p2(apdu, 0x3FFF)?;
    let name = tlv::only(apdu.data, 0x5C).map_err(malformed)?;
    DataObject::parse(name).map(Command::GetData)
}

fn put_data<'a>(apdu: &CommandApdu<'a>) -> Result<Command<'a>, Status> {
    expect_p1_p2(apdu, 0x3FFF)?;
    let mut reader = TlvReader::new(apdu.data);
    match (reader.next_object().map_err(malformed)?, reader.next_object().map_err(malformed)?) {
        (Some((0x5C, name)), Some((0x53, content))) if reader.remaining().is_empty() => {
            Ok(Command::PutData { object: DataObject::parse(name)?, content })
        }
        // The discovery object and the biometric group template are the card's own and stand without `5C`.
        (Some((0x7E | 0x7F61, _)), None) => Err(Status::FUNCTION_NOT_SUPPORTED),
        _ => Err(Status::WRONG_DATA),
    }
}

fn key_template(apdu: &CommandApdu<'_>) -> Result<KeyTemplate, Status> {
    let reference = KeyReference(apdu.p2);
    if apdu.p1 != 0 || !reference.is_user_key() {
        return Err(Status::INCORRECT_P1_P2);
    }
    let template = tlv::only(apdu.data, 0xAC).map_err(malformed)?;
    let (mut algorithm, mut pin_policy) = (None, None);
    let mut reader = TlvReader::new(template);
    while let Some((tag, value)) = reader.next_object().map_err(malformed)? {
        match (tag, value) {
            (0x80, &[identifier]) => algorithm = algorithm::asymmetric(identifier),
            (0xAA, &[policy]) => pin_policy = self::pin_policy(policy)?,
            (0xAB, &[0..=3]) => {} // Nobody can touch this card; metadata say "never".
            _ => return Err(Status::WRONG_DATA),
        }
    }
    Ok(KeyTemplate { reference, algorithm: algorithm.ok_or(Status::WRONG_DATA)?, pin_policy })
}

const fn pin_policy(value: u8) -> Result<Option<PinPolicy>, Status> {
    match value {
        0 => Ok(None),
        1 => Ok(Some(PinPolicy::Never)),
        2 => Ok(Some(PinPolicy::Once)),
        3 => Ok(Some(PinPolicy::Always)),
        _ => Err(Status::WRONG_DATA),
    }
}

fn general_authenticate<'a>(apdu: &CommandApdu<'a>) -> Result<GeneralAuthenticate<'a>, Status> {
    let reference = KeyReference(apdu.p2);
    let key = if reference == KeyReference::MANAGEMENT {
        AuthenticateKey::Management(algorithm::cipher(apdu.p1).ok_or(Status::INCORRECT_P1_P2)?)
    } else if reference.is_user_key() {
        let algorithm = algorithm::asymmetric(apdu.p1).ok_or(Status::INCORRECT_P1_P2)?;
        AuthenticateKey::User { reference, algorithm }
    } else {
        return Err(Status::INCORRECT_P1_P2);
    };
    Ok(GeneralAuthenticate { key, step: DynamicAuthentication::parse(apdu.data)? })
}

impl<'a> DynamicAuthentication<'a> {
    fn parse(data: &'a [u8]) -> Result<Self, Status> {
        let [witness, challenge, response, exponentiation] = dynamic_objects(data)?;
        match (witness, challenge, response, exponentiation) {
            (Some([]), None, None | Some([]), None) => Ok(Self::WitnessRequest),
            (Some(witness), Some(challenge), None | Some([]), None) => {
                Ok(Self::WitnessResponse { witness, challenge })
            }
            (None, Some([]), None | Some([]), None) => Ok(Self::ChallengeRequest),
            (None, Some(input), Some([]), None) => Ok(Self::Sign(input)),
            (None, None, Some([]), Some(point)) => Ok(Self::Agree(point)),
            (None, None, Some(response @ [_, ..]), None) => Ok(Self::ChallengeResponse(response)),
            _ => Err(Status::WRONG_DATA),
        }
    }
}

/// The values of 80, 81, 82 and 85 in the template, each at most once, and nothing else.
fn dynamic_objects(data: &[u8]) -> Result<[Option<&[u8]>; 4], Status> {
    let mut reader = TlvReader::new(tlv::only(data, 0x7C).map_err(malformed)?);
    let mut objects = [None; 4];
    while let Some((tag, value)) = reader.next_object().map_err(malformed)? {
        let [witness, challenge, response, exponentiation] = &mut objects;
        let object = match tag {
            0x80 => witness,
            0x81 => challenge,
            0x82 => response,
            0x85 => exponentiation,
            _ => return Err(Status::WRONG_DATA),
        };
        if object.replace(value).is_some() {
            return Err(Status::WRONG_DATA);
        }
    }
    Ok(objects)
}
