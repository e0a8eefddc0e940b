//! Every command of a security domain, parsed once (GlobalPlatform Card Specification 2.3.1, 11).

use cardhost_wire::{apdu::CommandApdu, status::Status};

use super::{
    data::GetData,
    delete::Delete,
    install::Install,
    malformed,
    put_key::PutKey,
    status::{GetStatus, SetStatus},
};

/// Block number's bit that says "last" in P1 of STORE DATA.
const LAST: u8 = 0x80;
/// In P1 of STORE DATA: data may come back. None ever do.
const ANSWERS: u8 = 0x01;
/// BER-TLV in P1 of STORE DATA; the bits 6 and 7 would say that the data are encrypted beyond the channel.
const BER_TLV: u8 = 0x10;

/// A command of a security domain.
pub enum Command<'a> {
    /// CA.
    GetData(GetData<'a>),
    /// F2.
    GetStatus(GetStatus<'a>),
    /// What changes the card.
    Manage(Management<'a>),
}

/// A command that changes the card.
pub enum Management<'a> {
    /// F0.
    SetStatus(SetStatus<'a>),
    /// D8.
    PutKey(PutKey<'a>),
    /// F1 (Yubico): makes an elliptic key.
    GenerateKey { replaced: u8, kid: u8, kvn: u8 },
    /// E4.
    Delete(Delete<'a>),
    /// E2: a block of data objects.
    StoreData { last: bool, number: u8, block: &'a [u8] },
    /// E6.
    Install(Install<'a>),
}

impl<'a> Command<'a> {
    /// Parses a command; the refusal is the status word.
    ///
    /// # Errors
    /// A status word for the terminal.
    pub fn parse(apdu: &CommandApdu<'a>) -> Result<Self, Status> {
        match apdu.ins {
            0xA4 => Err(Status::NOT_FOUND),
            0xCA => Ok(Self::GetData(GetData::parse(apdu))),
            0xD8 => PutKey::parse(apdu).map(Management::PutKey).map(Self::Manage),
            0xE2 => store_data(apdu).map(Self::Manage),
            0xE4 => Delete::parse(apdu).map(Management::Delete).map(Self::Manage),
            0xE6 => Install::parse(apdu).map(Management::Install).map(Self::Manage),
            0xF0 => SetStatus::parse(apdu).map(Management::SetStatus).map(Self::Manage),
            0xF1 => generate_key(apdu).map(Self::Manage),
            0xF2 => GetStatus::parse(apdu).map(Self::GetStatus),
            _ => Err(Status::INSTRUCTION_NOT_SUPPORTED),
        }
    }
}

const fn store_data<'a>(apdu: &CommandApdu<'a>) -> Result<Management<'a>, Status> {
    match apdu.p1 & !(LAST | ANSWERS) {
        0x00 | BER_TLV => {
            Ok(Management::StoreData { last: apdu.p1 & LAST != 0, number: apdu.p2, block: apdu.data })
        }
        _ => Err(Status::INCORRECT_P1_P2),
    }
}

/// The new version, then `F0` with the curve; only P-256, number 0.
fn generate_key<'a>(apdu: &CommandApdu<'a>) -> Result<Management<'a>, Status> {
    let (&kvn, parameters) = apdu.data.split_first().ok_or(Status::WRONG_LENGTH)?;
    match cardhost_wire::tlv::only(parameters, 0xF0).map_err(malformed)? {
        [0] => Ok(Management::GenerateKey { replaced: apdu.p1, kid: apdu.p2, kvn }),
        _ => Err(Status::WRONG_DATA),
    }
}
