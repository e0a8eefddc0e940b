//! What the host may do with profiles on the control stream ([`ProfileCommand`]). Each function makes the checks
//! itself; none tells a profile's keys.

use alloc::vec::Vec;

use cardhost_wire::{
    control::{Answer, Credential, Failure},
    profiles::{Iccid, NewProfile, ProfileCommand},
};

use super::registry::{Registry, iccids};
use crate::{container::Uicc, control::own_state, nvm::Part, services::Services};

/// Does one command of the host.
///
/// # Errors
/// The [`Failure`] that the host is told; nothing has changed then.
pub fn command(command: ProfileCommand, services: &mut Services<'_, Uicc>) -> Result<Answer, Failure> {
    match command {
        ProfileCommand::Install(profile) => install(services, profile),
        ProfileCommand::List => {
            Ok(Answer::Profiles(Registry::load(services.nvm()).map_err(own_state)?.profiles(None)))
        }
        ProfileCommand::Delete(iccid) => delete(services, iccid),
    }
}

/// The profiles: each is a credential of the card.
pub fn credentials(nvm: Part<'_, Uicc>) -> impl Iterator<Item = Credential> + '_ {
    iccids(nvm).map(Credential::Profile)
}

fn install(services: &mut Services<'_, Uicc>, profile: NewProfile) -> Result<Answer, Failure> {
    profile.check().map_err(|_| Failure::Malformed)?;
    let mut registry = Registry::load(services.nvm()).map_err(own_state)?;
    if registry.contains(profile.metadata.iccid) {
        return Err(Failure::ProfileExists);
    }
    let installed = registry.install(profile).ok_or(Failure::NoMemory)?;
    registry.save(services).map_err(own_state)?;
    Ok(Answer::Profiles(Vec::from([installed])))
}

fn delete(services: &mut Services<'_, Uicc>, iccid: Iccid) -> Result<Answer, Failure> {
    let mut registry = Registry::load(services.nvm()).map_err(own_state)?;
    if !registry.delete_enabled_or_not(iccid) {
        return Err(Failure::NoProfile);
    }
    registry.save(services).map_err(own_state)?;
    Ok(Answer::Done)
}
