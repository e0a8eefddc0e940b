//! What a terminal may do in the session of its set-up: prove the card holder's PIN and put its key set.

use alloc::vec::Vec;

use cardhost_wire::{
    apdu::{CommandApdu, ResponseApdu},
    status::Status,
    tlv::{self, object},
};

use super::{
    Change, Ended, Part, Services,
    certification::Terminal,
    kvn::Kvn,
    pairings::{self, StoredPairing},
    record,
};
use crate::{
    crypto::AES_BLOCK,
    isd::{
        key_set::KEY_IDS,
        put_key::{AES, PutKey},
    },
    piv::{PinVerified, Value, verify_pin},
    scp::Authority,
    services::Context,
};

/// The session of one set-up; dropping it ends all of it.
pub struct SetUp {
    terminal: Terminal,
    pin: Option<PinVerified>,
}

/// A command of the pairing security domain in a set-up.
enum Command<'a> {
    /// 20.
    Verify(&'a Value),
    /// CA: key information template.
    KeyInformation,
    /// D8.
    PutKey(PutKey<'a>),
}

impl<'a> Command<'a> {
    fn parse(command: &CommandApdu<'a>) -> Result<Self, Status> {
        match (command.cla, command.ins, command.p1_p2()) {
            (0x00, 0x20, 0x0080) => command.data.try_into().map(Self::Verify).map_err(|_| Status::WRONG_DATA),
            (0x80, 0xCA, 0x00E0) => Ok(Self::KeyInformation),
            (0x80, 0xD8, 0x0081) => PutKey::parse(command).map(Self::PutKey),
            (0x80, 0xCA, _) => Err(Status::REFERENCED_DATA_NOT_FOUND),
            (0x00, 0x20, _) | (0x80, 0xD8, _) => Err(Status::INCORRECT_P1_P2),
            _ => Err(Status::INSTRUCTION_NOT_SUPPORTED),
        }
    }
}

impl SetUp {
    /// Nothing proved yet.
    pub const fn new(terminal: Terminal) -> Self {
        Self { terminal, pin: None }
    }

    /// The terminal at the other end.
    pub const fn terminal(&self) -> &Terminal {
        &self.terminal
    }

    /// Executes one command APDU; the session's DEK encrypts keys in it. Always answers, and in one piece.
    pub fn transmit(
        &mut self,
        command: &[u8],
        authority: Authority<'_>,
        context: &mut Context<'_>,
    ) -> ResponseApdu {
        let answer = match CommandApdu::parse(command) {
            Ok(command) => self.execute(&command, authority, context),
            Err(_) => Err(Status::WRONG_LENGTH),
        };
        match answer {
            Ok(data) => ResponseApdu { data, status: Status::SUCCESS },
            Err(status) => status.into(),
        }
    }

    fn execute(
        &mut self,
        command: &CommandApdu<'_>,
        authority: Authority<'_>,
        context: &mut Context<'_>,
    ) -> Result<Vec<u8>, Status> {
        match Command::parse(command)? {
            Command::Verify(presented) => {
                self.pin = None;
                self.pin = Some(verify_pin(&mut context.secure_element(), presented)?);
                Ok(Vec::new())
            }
            Command::KeyInformation => key_information(context.card_os().nvm()),
            Command::PutKey(put) => {
                let pin = self.pin.as_ref().ok_or(Status::SECURITY_STATUS_NOT_SATISFIED)?;
                let (ended, mut services) = context.pairings();
                put_key(pin, authority, &self.terminal, &put, ended, &mut services)
            }
        }
    }
}

/// Key information template (Card Specification, 11.3.3.1.1) of the pairings.
fn key_information(nvm: Part<'_>) -> Result<Vec<u8>, Status> {
    let mut template = Vec::new();
    for (kvn, _) in pairings::all(nvm)? {
        for kid in KEY_IDS {
            tlv::push(&mut template, 0xC0, &[kid, kvn.value(), AES, AES_BLOCK as u8]);
        }
    }
    Ok(object(0xE0, &template))
}

/// PUT KEY: pairs the card with the terminal. What the same certificate was paired by before ends in the same change;
/// another device of the same name keeps its own. Answers the version and the check values.
fn put_key(
    _: &PinVerified,
    authority: Authority<'_>,
    terminal: &Terminal,
    put: &PutKey<'_>,
    ended: &mut Ended,
    services: &mut Services<'_>,
) -> Result<Vec<u8>, Status> {
    let set = put.key_set(authority)?;
    let kvn = Kvn::parse(set.kvn).ok_or(Status::WRONG_DATA)?;
    let pairing = StoredPairing::new(terminal, set.keys)?;
    let (own, others): (Vec<_>, Vec<_>) =
        pairings::all(services.nvm())?.into_iter().partition(|(_, other)| other.serial() == terminal.serial);
    if others.iter().any(|(taken, _)| *taken == kvn) {
        return Err(Status::CONDITIONS_NOT_SATISFIED);
    }
    let change = own.iter().fold(Change::new(), |change, (kvn, _)| change.delete(record::pairing(*kvn)));
    services.commit(pairing.put(change, kvn))?;
    own.iter().for_each(|(kvn, _)| ended.pairing(*kvn));
    Ok(set.answer)
}
