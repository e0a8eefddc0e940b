//! ES10c.GetProfilesInfo (GSMA SGP.22, 5.7.15).

use alloc::vec::Vec;

use cardhost_wire::{
    profiles::{NotificationConfiguration, Profile},
    status::Status,
    tlv::{self, Tag, object},
};

use super::{notification::event_bits, registry::Registry, request::ProfilesInfo};
use crate::{container::Uicc, nvm::Part};

/// What is told if no tags are wanted in particular: the icon's, `93` and `94`, are among them, but no profile has one.
const DEFAULT_TAGS: [Tag; 7] = [0x5A, 0x4F, 0x9F70, 0x90, 0x91, 0x92, 0x95];
/// What is told of a profile at all, in this order.
const ALL_TAGS: [Tag; 8] = [0x5A, 0x4F, 0x9F70, 0x90, 0x91, 0x92, 0x95, 0xB6];
/// `incorrectInputValues`.
const INCORRECT_INPUT: u8 = 1;

/// Answers what is wanted of the profiles.
///
/// # Errors
/// `6581`: a record is not one of ours.
pub fn profiles_info(nvm: Part<'_, Uicc>, wanted: &ProfilesInfo<'_>) -> Result<Vec<u8>, Status> {
    let tags = wanted.tags.map_or(Ok(DEFAULT_TAGS.to_vec()), tlv::tags);
    let (Ok(tags), None | Some(Some(_))) = (tags, wanted.criterion) else {
        return Ok(object(0xBF2D, &object(0x81, &[INCORRECT_INPUT])));
    };
    let profiles = Registry::load(nvm)?.profiles(wanted.criterion.flatten());
    let list: Vec<u8> = profiles.iter().flat_map(|profile| profile_info(profile, &tags)).collect();
    Ok(object(0xBF2D, &object(0xA0, &list)))
}

/// `ProfileInfo` with those of the tags that the profile has.
fn profile_info(profile: &Profile, wanted: &[Tag]) -> Vec<u8> {
    let told = ALL_TAGS.into_iter().filter(|tag| wanted.contains(tag));
    let members: Vec<u8> =
        told.filter_map(|tag| Some(object(tag, &member(profile, tag)?))).flatten().collect();
    object(0xE3, &members)
}

fn member(profile: &Profile, tag: Tag) -> Option<Vec<u8>> {
    let metadata = &profile.metadata;
    Some(match tag {
        0x5A => metadata.iccid.coded().to_vec(),
        0x4F => profile.isdp_aid.to_vec(),
        0x9F70 => [u8::from(profile.enabled)].to_vec(),
        0x90 => metadata.nickname.as_ref()?.as_bytes().to_vec(),
        0x91 => metadata.service_provider_name.as_bytes().to_vec(),
        0x92 => metadata.profile_name.as_bytes().to_vec(),
        0x95 => [metadata.class as u8].to_vec(),
        0xB6 if metadata.notifications.is_empty() => return None,
        0xB6 => metadata.notifications.iter().flat_map(configuration).collect(),
        _ => return None,
    })
}

/// `NotificationConfigurationInformation`.
fn configuration(configuration: &NotificationConfiguration) -> Vec<u8> {
    let events = object(0x80, &event_bits(&configuration.events));
    object(0x30, &[events, object(0x81, configuration.address.as_bytes())].concat())
}
