//! What the eUICC tells of itself (GSMA SGP.22, 5.7.3, 5.7.8 and 5.7.22): nothing that is not there. It knows no
//! certificate issuer, is certified by nobody, interprets no profile packages and authorises no policy rules.

use alloc::vec::Vec;

use cardhost_wire::{status::Status, tlv::object};

use super::{SVN, registry::Registry};
use crate::{container::Uicc, nvm::Part};

/// A version that is none.
const NO_VERSION: [u8; 3] = [0; 3];
const GLOBAL_PLATFORM: [u8; 3] = [2, 3, 1];
/// `usimSupport`, bit 1.
const UICC_CAPABILITY: [u8; 2] = [6, 0x40];
/// `additionalProfile`, bit 0, and `testProfileSupport`, bit 3.
const RSP_CAPABILITY: u8 = 0x10;
const ADDITIONAL_PROFILE: u8 = 0x80;
/// `ppr1` and `ppr2`, bits 1 and 2.
const FORBIDDEN_POLICY_RULES: [u8; 2] = [5, 0x60];
/// Sum of what sessions hold at most of commands and responses: free volatile memory, bytes.
const VOLATILE_MEMORY: u32 = 32 * 1024;

/// `EUICCInfo1`.
pub fn info1() -> Vec<u8> {
    object(0xBF20, &[object(0x82, &SVN), issuers()].concat())
}

/// `EUICCInfo2`.
///
/// # Errors
/// `6581`: a record is not one of ours.
pub fn info2(nvm: Part<'_, Uicc>) -> Result<Vec<u8>, Status> {
    let free = Registry::load(nvm)?.free_places();
    let additional = if free > 0 { ADDITIONAL_PROFILE } else { 0 };
    let members = [
        object(0x81, &NO_VERSION),
        object(0x82, &SVN),
        object(0x83, &firmware_version()),
        object(0x84, &card_resources(nvm)),
        object(0x85, &UICC_CAPABILITY),
        object(0x87, &GLOBAL_PLATFORM),
        object(0x88, &[4, RSP_CAPABILITY | additional]),
        issuers(),
        // Of no category.
        object(0x8B, &[0]),
        object(0x99, &FORBIDDEN_POLICY_RULES),
        // Protection profile and accreditation.
        object(0x04, &NO_VERSION),
        object(0x0C, &[]),
    ];
    Ok(object(0xBF22, &members.concat()))
}

/// The issuers whose certificates are verified, and those under which is signed: none.
fn issuers() -> Vec<u8> {
    [object(0xA9, &[]), object(0xAA, &[])].concat()
}

/// `extCardResource` (ETSI TS 102 226, 8.2.1.7.2): no applications were loaded; free memory.
fn card_resources(nvm: Part<'_, Uicc>) -> Vec<u8> {
    let room = nvm.room() as u32;
    let volatile = object(0x83, &VOLATILE_MEMORY.to_be_bytes());
    [object(0x81, &[0]), object(0x82, &room.to_be_bytes()), volatile].concat()
}

fn firmware_version() -> [u8; 3] {
    let parts =
        [env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"), env!("CARGO_PKG_VERSION_PATCH")];
    parts.map(|part| part.parse().unwrap_or(u8::MAX))
}

/// ES10b.GetRAT: nobody may set policy rules.
pub fn rules_authorisation_table() -> Vec<u8> {
    object(0xBF43, &object(0xA0, &[]))
}

/// ES10a.GetEuiccConfiguredAddresses. There is no root SM-DS.
///
/// # Errors
/// `6581`: a record is not one of ours.
pub fn configured_addresses(nvm: Part<'_, Uicc>) -> Result<Vec<u8>, Status> {
    let registry = Registry::load(nvm)?;
    let default = match registry.default_dp_address() {
        "" => Vec::new(),
        address => object(0x80, address.as_bytes()),
    };
    Ok(object(0xBF3C, &[default, object(0x81, &[])].concat()))
}
