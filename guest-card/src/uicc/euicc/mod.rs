//! The ISD-R: the eUICC's local management (GSMA SGP.22, 5.7). Profiles come from the host; there is no remote
//! download yet, and so no key or certificate to prove anything to a server with.
//!
//! ```text
//! STORE DATA blocks ─▶ request::Request (parsed once) ─▶ information · listing · registry ─▶ response
//!                                                                          │
//! host's ProfileCommand ─▶ host ───────────────────────────────────────────┤
//!                                                                          ▼
//!                                     records: one for the state, two for each profile, written in one commit
//! ```

mod eid;
mod host;
mod information;
mod listing;
mod notification;
mod registry;
mod request;

use alloc::vec::Vec;

use cardhost_wire::{aid::Aid, apdu::CommandApdu, status::Status, tlv::object};

use crate::{blocks::Blocks, container::Uicc, services::Services};
pub use eid::eid;
pub use host::{command, credentials};
use registry::{Registry, ResultCode};
pub use registry::{StoredProfile, enabled};
use request::Request;

/// P1 of STORE DATA: BER-TLV, an answer is expected (SGP.22, 5.7.2); the last block or one of those before.
const LAST: u8 = 0x91;
const MORE: u8 = 0x11;
/// The version of SGP.22 that this follows.
const SVN: [u8; 3] = [2, 2, 2];

/// What SELECT of the ISD-R answers (ibid., 5.7.1).
pub fn file_control_information(name: Aid) -> Vec<u8> {
    object(0x6F, &[object(0x84, name.as_bytes()), object(0xE0, &object(0x82, &SVN))].concat())
}

/// STORE DATA: one function of ES10a, b or c, in blocks.
///
/// # Errors
/// `6A88`: there is no such function; `6A80`: the request is malformed. Nothing has changed.
pub fn store_data(
    blocks: &mut Blocks,
    command: &CommandApdu<'_>,
    services: &mut Services<'_, Uicc>,
) -> Result<Vec<u8>, Status> {
    let last = match command.p1 {
        LAST => true,
        MORE => false,
        _ => return Err(Status::INCORRECT_P1_P2),
    };
    match blocks.add(last, command.p2, command.data)? {
        Some(data) => execute(&Request::parse(&data)?, services),
        None => Ok(Vec::new()),
    }
}

fn execute(request: &Request<'_>, services: &mut Services<'_, Uicc>) -> Result<Vec<u8>, Status> {
    match request {
        Request::Eid => Ok(object(0xBF3E, &object(0x5A, &eid(&services.card())))),
        Request::Info1 => Ok(information::info1()),
        Request::Info2 => information::info2(services.nvm()),
        Request::RulesAuthorisationTable => Ok(information::rules_authorisation_table()),
        Request::ConfiguredAddresses => information::configured_addresses(services.nvm()),
        Request::ProfilesInfo(wanted) => listing::profiles_info(services.nvm(), wanted),
        Request::ListNotification(events) => notification::list(services.nvm(), *events),
        Request::RetrieveNotifications(wanted) => notification::retrieve(services.nvm(), *wanted),
        Request::Enable(profile) => change(services, 0xBF31, |registry| registry.enable(profile)),
        Request::Disable(profile) => change(services, 0xBF32, |registry| registry.disable(profile)),
        Request::Delete(profile) => change(services, 0xBF33, |registry| registry.delete(profile)),
        Request::MemoryReset(options) => change(services, 0xBF34, |registry| registry.reset(*options)),
        Request::SetNickname { profile, nickname } => {
            change(services, 0xBF29, |registry| registry.set_nickname(profile, nickname))
        }
        Request::SetDefaultDpAddress(address) => {
            change(services, 0xBF3F, |registry| registry.set_default_dp_address(address))
        }
        Request::RemoveNotification(sequence) => {
            change(services, 0xBF30, |registry| registry.remove_notification(*sequence))
        }
    }
}

/// Does something to the registry and answers its result. Only what succeeds is written.
fn change(
    services: &mut Services<'_, Uicc>,
    tag: u32,
    act: impl FnOnce(&mut Registry) -> ResultCode,
) -> Result<Vec<u8>, Status> {
    let mut registry = Registry::load(services.nvm())?;
    let result = act(&mut registry);
    if result == ResultCode::OK {
        registry.save(services)?;
    }
    Ok(object(tag, &object(0x80, &[result.0])))
}
