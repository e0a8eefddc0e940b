//! The profiles and the eUICC's state (GSMA SGP.22, 5.7). At most one profile is enabled.
//!
//! ```text
//! install ──▶ disabled ◀──enable, disable──▶ enabled       a test profile that is disabled makes room again for the
//!                │ delete                                  operational one that it displaced
//!                ▼
//! ```
//!
//! What was done in memory is written by [`Registry::save`], all of it in one commit.

use alloc::{borrow::ToOwned, collections::BTreeMap, string::String, vec::Vec};

use cardhost_wire::{
    key::Secret,
    profiles::{
        Iccid, Imsi, MAX_PROFILES, NewProfile, NotificationEvent, Profile, ProfileClass, ProfileMetadata,
        isd_p,
    },
    status::Status,
};
use serde::{Deserialize, Serialize};

use super::{
    notification::{MOST_NOTIFICATIONS, Notification},
    request::{Criterion, Identifier, ResetOptions},
};
use crate::{
    container::Uicc,
    nvm::{Change, Part, Partition, RecordName, structure},
    services::Services,
};

const STATE: RecordName<Uicc> = Partition::UICC.record(0);
const PROFILES: u16 = 0x010;
const KEYS: u16 = 0x020;

/// Number of the first notification: clients write zero with no digit at all.
const FIRST: u32 = 1;

/// Where a profile stands: its security domain's number.
type Place = u8;

/// A function's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultCode(pub u8);

impl ResultCode {
    /// `ok`.
    pub const OK: Self = Self(0);
    /// `iccidOrAidNotFound`.
    const NOT_FOUND: Self = Self(1);
    /// `nothingToDelete`.
    const NOTHING_TO_DELETE: Self = Self(1);
    /// `profileNotInDisabledState`, `profileNotInEnabledState`.
    const WRONG_STATE: Self = Self(2);
    /// `wrongProfileReenabling`.
    const WRONG_PROFILE_REENABLING: Self = Self(4);
}

/// A profile at rest, but for its keys.
#[derive(Serialize, Deserialize)]
pub struct StoredProfile {
    /// What is told of it.
    pub metadata: ProfileMetadata,
    /// The subscriber.
    pub imsi: Imsi,
}

/// A profile's keys at rest.
#[derive(Serialize, Deserialize)]
struct SubscriberKeys {
    k: Secret,
    opc: Secret,
}

#[derive(Default, Serialize, Deserialize)]
struct State {
    enabled: Option<Place>,
    /// The operational profile that was enabled before a test profile was.
    displaced: Option<Place>,
    default_dp_address: String,
    next_sequence: u32,
    notifications: Vec<Notification>,
}

/// All of it, in memory.
pub struct Registry {
    state: State,
    profiles: BTreeMap<Place, StoredProfile>,
    change: Change<Uicc>,
}

/// The enabled profile.
///
/// # Errors
/// `6581`: a record is not one of ours.
pub fn enabled(nvm: Part<'_, Uicc>) -> Result<Option<StoredProfile>, Status> {
    match load_state(nvm)?.enabled {
        Some(place) => structure::load(nvm, profile_record(place)),
        None => Ok(None),
    }
}

/// The profiles' identifiers.
pub fn iccids(nvm: Part<'_, Uicc>) -> impl Iterator<Item = Iccid> + '_ {
    let load = move |place| structure::load::<StoredProfile, _>(nvm, profile_record(place)).ok()?;
    places().filter_map(load).map(|profile| profile.metadata.iccid)
}

fn load_state(nvm: Part<'_, Uicc>) -> Result<State, Status> {
    Ok(structure::load(nvm, STATE)?.unwrap_or_default())
}

fn places() -> impl Iterator<Item = Place> {
    0..MAX_PROFILES as Place
}

fn profile_record(place: Place) -> RecordName<Uicc> {
    Partition::UICC.record(PROFILES + u16::from(place))
}

fn keys_record(place: Place) -> RecordName<Uicc> {
    Partition::UICC.record(KEYS + u16::from(place))
}

impl Registry {
    /// Reads it.
    ///
    /// # Errors
    /// `6581`: a record is not one of ours.
    pub fn load(nvm: Part<'_, Uicc>) -> Result<Self, Status> {
        let mut profiles = BTreeMap::new();
        for place in places() {
            profiles.extend(structure::load(nvm, profile_record(place))?.map(|profile| (place, profile)));
        }
        Ok(Self { state: load_state(nvm)?, profiles, change: Change::new() })
    }

    /// Writes what was done.
    ///
    /// # Errors
    /// `6A84`, `6581`: nothing was.
    pub fn save(self, services: &mut Services<'_, Uicc>) -> Result<(), Status> {
        services.commit(self.change.put(STATE, structure::encode(&self.state)))
    }

    /// The profiles that are what is wanted, all without a criterion.
    pub fn profiles(&self, wanted: Option<Criterion<'_>>) -> Vec<Profile> {
        let is_wanted = |place: Place, profile: &StoredProfile| match wanted {
            None => true,
            Some(Criterion::Class(class)) => profile.metadata.class == class,
            Some(Criterion::Profile(identifier)) => identifier.names(place, profile),
        };
        let wanted = self.profiles.iter().filter(|(place, profile)| is_wanted(**place, profile));
        wanted.map(|(place, profile)| self.told(*place, profile)).collect()
    }

    fn told(&self, place: Place, profile: &StoredProfile) -> Profile {
        let enabled = self.state.enabled == Some(place);
        Profile { isdp_aid: isd_p(place), enabled, metadata: profile.metadata.clone() }
    }

    /// The default SM-DP+ address, empty if there is none.
    pub fn default_dp_address(&self) -> &str {
        &self.state.default_dp_address
    }

    /// The notifications that nobody removed yet, the oldest first.
    pub fn notifications(&self) -> &[Notification] {
        &self.state.notifications
    }

    /// How many more profiles it takes.
    pub fn free_places(&self) -> usize {
        MAX_PROFILES - self.profiles.len()
    }

    /// True if a profile has this identifier.
    pub fn contains(&self, iccid: Iccid) -> bool {
        self.find_iccid(iccid).is_some()
    }

    /// Installs a profile, disabled; `None` if no place is free.
    pub fn install(&mut self, new: NewProfile) -> Option<Profile> {
        let place = places().find(|place| !self.profiles.contains_key(place))?;
        let NewProfile { metadata, imsi, k, opc } = new;
        let (profile, keys) = (StoredProfile { metadata, imsi }, SubscriberKeys { k, opc });
        let told = self.told(place, &profile);
        self.alter(|change| change.put(keys_record(place), structure::encode(&keys)));
        self.put(place, profile);
        self.notify(place, NotificationEvent::Install);
        Some(told)
    }

    /// Enables a profile; the one that is enabled is disabled with it.
    pub fn enable(&mut self, identifier: &Identifier<'_>) -> ResultCode {
        let Some(place) = self.find(identifier) else { return ResultCode::NOT_FOUND };
        match self.state.enabled {
            Some(enabled) if enabled == place => return ResultCode::WRONG_STATE,
            Some(enabled) if !self.may_follow(place, enabled) => {
                return ResultCode::WRONG_PROFILE_REENABLING;
            }
            Some(enabled) => self.displace(enabled, place),
            None => {}
        }
        self.put_in_force(place);
        ResultCode::OK
    }

    /// After a test profile comes another one, or the operational one that the first displaced.
    fn may_follow(&self, next: Place, enabled: Place) -> bool {
        !self.is_test(enabled) || self.is_test(next) || self.state.displaced == Some(next)
    }

    fn displace(&mut self, enabled: Place, next: Place) {
        self.state.displaced = match (self.is_test(enabled), self.is_test(next)) {
            (false, true) => Some(enabled),
            (true, true) => self.state.displaced,
            (_, false) => None,
        };
        self.notify(enabled, NotificationEvent::Disable);
    }

    fn put_in_force(&mut self, place: Place) {
        self.state.enabled = Some(place);
        self.notify(place, NotificationEvent::Enable);
    }

    /// Disables a profile.
    pub fn disable(&mut self, identifier: &Identifier<'_>) -> ResultCode {
        let Some(place) = self.find(identifier) else { return ResultCode::NOT_FOUND };
        if self.state.enabled != Some(place) {
            return ResultCode::WRONG_STATE;
        }
        self.put_out_of_force(place);
        ResultCode::OK
    }

    /// Disables the profile; what it displaced is enabled again.
    fn put_out_of_force(&mut self, place: Place) {
        self.state.enabled = None;
        self.notify(place, NotificationEvent::Disable);
        if let Some(displaced) = self.state.displaced.take() {
            self.put_in_force(displaced);
        }
    }

    /// Deletes a profile, which must be disabled.
    pub fn delete(&mut self, identifier: &Identifier<'_>) -> ResultCode {
        let Some(place) = self.find(identifier) else { return ResultCode::NOT_FOUND };
        if self.state.enabled == Some(place) {
            return ResultCode::WRONG_STATE;
        }
        self.remove(place);
        ResultCode::OK
    }

    /// Deletes a profile, disabled first if it is enabled; false if there is none.
    pub fn delete_enabled_or_not(&mut self, iccid: Iccid) -> bool {
        let Some(place) = self.find_iccid(iccid) else { return false };
        if self.state.enabled == Some(place) {
            self.put_out_of_force(place);
        }
        self.remove(place);
        true
    }

    fn remove(&mut self, place: Place) {
        self.notify(place, NotificationEvent::Delete);
        self.profiles.remove(&place);
        self.state.displaced = self.state.displaced.filter(|displaced| *displaced != place);
        self.alter(|change| change.delete(profile_record(place)).delete(keys_record(place)));
    }

    /// Deletes what the options say, enabled or not.
    pub fn reset(&mut self, options: ResetOptions) -> ResultCode {
        let goes = |(place, profile): (&Place, &StoredProfile)| {
            options.deletes(profile.metadata.class).then_some(*place)
        };
        let going: Vec<Place> = self.profiles.iter().filter_map(goes).collect();
        let resets_address = options.resets_address() && !self.state.default_dp_address.is_empty();
        if going.is_empty() && !resets_address {
            return ResultCode::NOTHING_TO_DELETE;
        }
        if resets_address {
            self.state.default_dp_address.clear();
        }
        // What goes anyway is not put in force before.
        self.state.displaced = self.state.displaced.filter(|displaced| !going.contains(displaced));
        for place in going {
            if self.state.enabled == Some(place) {
                self.put_out_of_force(place);
            }
            self.remove(place);
        }
        ResultCode::OK
    }

    /// Names a profile; an empty name takes the name away.
    pub fn set_nickname(&mut self, identifier: &Identifier<'_>, nickname: &str) -> ResultCode {
        let found = self.find(identifier).and_then(|place| self.profiles.remove_entry(&place));
        let Some((place, mut profile)) = found else { return ResultCode::NOT_FOUND };
        profile.metadata.nickname = Some(nickname.to_owned()).filter(|nickname| !nickname.is_empty());
        self.put(place, profile);
        ResultCode::OK
    }

    /// Sets the default SM-DP+ address; an empty one takes it away.
    pub fn set_default_dp_address(&mut self, address: &str) -> ResultCode {
        self.state.default_dp_address = address.to_owned();
        ResultCode::OK
    }

    /// Removes the notification of this number.
    pub fn remove_notification(&mut self, sequence: u32) -> ResultCode {
        let before = self.state.notifications.len();
        self.state.notifications.retain(|notification| notification.sequence != sequence);
        let removed = self.state.notifications.len() < before;
        if removed { ResultCode::OK } else { ResultCode::NOTHING_TO_DELETE }
    }

    /// Adds a notification for each server that wants to know of the event. Those that wait longest make room.
    fn notify(&mut self, place: Place, event: NotificationEvent) {
        let Some(profile) = self.profiles.get(&place) else { return };
        let state = &mut self.state;
        for configuration in &profile.metadata.notifications {
            if configuration.events.contains(&event) {
                let (sequence, address) = (state.next_sequence.max(FIRST), configuration.address.clone());
                state.next_sequence = sequence.wrapping_add(1);
                let iccid = profile.metadata.iccid;
                state.notifications.push(Notification { sequence, event, address, iccid });
            }
        }
        let surplus = state.notifications.len().saturating_sub(MOST_NOTIFICATIONS);
        state.notifications.drain(..surplus);
    }

    fn find(&self, identifier: &Identifier<'_>) -> Option<Place> {
        let named = |(place, profile): &(&Place, &StoredProfile)| identifier.names(**place, profile);
        self.profiles.iter().find(named).map(|(place, _)| *place)
    }

    fn find_iccid(&self, iccid: Iccid) -> Option<Place> {
        self.find(&Identifier::Iccid(&iccid.coded()))
    }

    fn is_test(&self, place: Place) -> bool {
        self.profiles.get(&place).is_some_and(|profile| profile.metadata.class == ProfileClass::Test)
    }

    fn put(&mut self, place: Place, profile: StoredProfile) {
        self.alter(|change| change.put(profile_record(place), structure::encode(&profile)));
        self.profiles.insert(place, profile);
    }

    fn alter(&mut self, alter: impl FnOnce(Change<Uicc>) -> Change<Uicc>) {
        self.change = alter(core::mem::take(&mut self.change));
    }
}

impl Identifier<'_> {
    fn names(&self, place: Place, profile: &StoredProfile) -> bool {
        match self {
            Self::Iccid(iccid) => profile.metadata.iccid.is_coded_as(iccid),
            Self::IsdP(aid) => isd_p(place) == *aid,
        }
    }
}
