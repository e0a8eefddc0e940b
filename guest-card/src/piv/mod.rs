//! The PIV Card Application (SP 800-73-5, parts 1 and 2), with Yubico's instructions.
//!
//! ```text
//! CommandApdu ─▶ command::Command (parsed once) ─▶ one handler ─▶ response data or a status word
//!                                                   │
//!        reference data · management · authenticate · keys · object · yubico      host (control stream)
//!                                                   ▼                                  ▼
//!                                    record: one per key, per data object, one for PIN and PUK
//! ```
//!
//! What lives how long: the records, for ever; [`Piv`], for one start of the card (it only keeps parsed keys); a
//! [`Session`], from SELECT to the end of the logical channel, another SELECT or a reset.
//! A signature reads records and writes none.

mod algorithm;
mod attestation;
mod authenticate;
mod command;
mod generate;
mod host;
mod identity;
mod keys;
mod management;
mod object;
mod personalisation;
mod record;
mod reference_data;
mod request;
mod session;
mod yubico;

use alloc::vec::Vec;

use cardhost_wire::{
    aid::Aid,
    apdu::CommandApdu,
    status::Status,
    tlv::{self, object},
};

pub use record::credentials;
pub(crate) use reference_data::{Value, verify_pin};
pub(crate) use request::certification_request;
pub(crate) use session::PinVerified;
pub use session::Session;

use crate::services::Services;
use command::Command;
use keys::LoadedKeys;

/// The application as one start of the card knows it. All state that lasts is in the records.
#[derive(Default)]
pub struct Piv {
    loaded: LoadedKeys,
}

impl Piv {
    /// The application property template that SELECT answers (part 2, 3.1.1).
    pub fn select_response() -> Vec<u8> {
        let (rid, pix) = Aid::PIV.as_bytes().split_at(5);
        let authority = object(0x79, &object(0x4F, rid));
        let label = object(0x50, b"cardhost PIV");
        object(0x61, &[object(0x4F, pix), authority, label].concat())
    }

    /// Executes one whole command: chains reassembled, secure messaging removed. Answers the response data.
    ///
    /// # Errors
    /// A status word for the terminal.
    pub fn process(
        &mut self,
        session: &mut Session,
        services: &mut Services<'_>,
        command: &CommandApdu<'_>,
    ) -> Result<Vec<u8>, Status> {
        let loaded = &mut self.loaded;
        match Command::parse(command)? {
            Command::GetData(object) => object::read(session, services.nvm(), object),
            Command::PutData { object, content } => done(object::write(session, services, object, content)),
            Command::Verify(verify) => done(reference_data::verify(session, services, verify)),
            Command::ChangeReferenceData { which, old, new } => {
                done(reference_data::change(session, services, which, old, new))
            }
            Command::ResetRetryCounter { puk, pin } => {
                done(reference_data::unblock(session, services, puk, pin))
            }
            Command::GeneralAuthenticate(command) => {
                authenticate::general_authenticate(loaded, session, services, &command)
            }
            Command::GenerateKeyPair(template) => {
                generate::generate_key_pair(loaded, session, services, &template)
            }
            Command::Yubico(command) => yubico::yubico(loaded, session, services, &command),
        }
    }
}

fn done(result: Result<(), Status>) -> Result<Vec<u8>, Status> {
    result.map(|()| Vec::new())
}

/// A malformed template in the data field.
fn malformed(_: tlv::MalformedTlv) -> Status {
    Status::WRONG_DATA
}
