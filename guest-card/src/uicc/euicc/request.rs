//! The functions of ES10a, b and c (GSMA SGP.22, 5.7), parsed once. What stands behind a request, or in it beyond its
//! members, is an error.

use core::str;

use cardhost_wire::{
    profiles::{MAX_ADDRESS, MAX_NICKNAME, NotificationEvent, ProfileClass},
    status::Status,
    tlv::{Tag, TlvReader},
};

use super::super::malformed;

/// A request.
pub enum Request<'a> {
    /// ES10c.GetEID.
    Eid,
    /// ES10b.GetEUICCInfo, the short one.
    Info1,
    /// The long one.
    Info2,
    /// ES10b.GetRAT.
    RulesAuthorisationTable,
    /// ES10a.GetEuiccConfiguredAddresses.
    ConfiguredAddresses,
    /// ES10a.SetDefaultDpAddress.
    SetDefaultDpAddress(&'a str),
    /// ES10c.GetProfilesInfo.
    ProfilesInfo(ProfilesInfo<'a>),
    /// ES10c.EnableProfile.
    Enable(Identifier<'a>),
    /// ES10c.DisableProfile.
    Disable(Identifier<'a>),
    /// ES10c.DeleteProfile.
    Delete(Identifier<'a>),
    /// ES10c.SetNickname.
    SetNickname { profile: Identifier<'a>, nickname: &'a str },
    /// ES10c.eUICCMemoryReset.
    MemoryReset(ResetOptions),
    /// ES10b.ListNotification.
    ListNotification(Events),
    /// ES10b.RetrieveNotificationsList.
    RetrieveNotifications(Wanted),
    /// ES10b.RemoveNotificationFromList.
    RemoveNotification(u32),
}

/// Which profile.
#[derive(Clone, Copy)]
pub enum Identifier<'a> {
    /// `5A`, coded as EF ICCID.
    Iccid(&'a [u8]),
    /// `4F`, the AID of its security domain.
    IsdP(&'a [u8]),
}

/// Which profiles and which of their data.
pub struct ProfilesInfo<'a> {
    /// All, without one. `None` in it: the criterion's value is none.
    pub criterion: Option<Option<Criterion<'a>>>,
    /// Tags one after the other.
    pub tags: Option<&'a [u8]>,
}

/// What a profile has to be.
#[derive(Clone, Copy)]
pub enum Criterion<'a> {
    /// This one.
    Profile(Identifier<'a>),
    /// Of this class.
    Class(ProfileClass),
}

/// What is to be reset: the first byte of the bit string.
#[derive(Clone, Copy)]
pub struct ResetOptions(u8);

impl ResetOptions {
    /// Profiles of this class go.
    pub const fn deletes(self, class: ProfileClass) -> bool {
        match class {
            ProfileClass::Operational => self.0 & 0x80 != 0,
            ProfileClass::Test => self.0 & 0x40 != 0,
            ProfileClass::Provisioning => false,
        }
    }

    /// The default SM-DP+ address goes.
    pub const fn resets_address(self) -> bool {
        self.0 & 0x20 != 0
    }
}

/// A set of events: the first byte of the bit string.
#[derive(Clone, Copy)]
pub struct Events(u8);

impl Events {
    /// Every event.
    pub const ALL: Self = Self(0xF0);

    /// True if the event is one of them.
    pub const fn contains(self, event: NotificationEvent) -> bool {
        self.0 & event as u8 != 0
    }
}

/// Which notifications.
#[derive(Clone, Copy)]
pub enum Wanted {
    /// This one.
    Sequence(u32),
    /// Those of these events.
    Of(Events),
}

impl<'a> Request<'a> {
    /// Parses the whole data field of STORE DATA.
    ///
    /// # Errors
    /// `6A88`: there is no such function; `6A80`: malformed.
    pub fn parse(data: &'a [u8]) -> Result<Self, Status> {
        let mut reader = TlvReader::new(data);
        let (tag, value) = reader.next_object().map_err(malformed)?.ok_or(Status::WRONG_DATA)?;
        let mut members = Members(TlvReader::new(value));
        let request = Self::of(tag, &mut members)?;
        if members.is_read() && reader.remaining().is_empty() { Ok(request) } else { Err(Status::WRONG_DATA) }
    }

    fn of(tag: Tag, members: &mut Members<'a>) -> Result<Self, Status> {
        Ok(match tag {
            0xBF20 => Self::Info1,
            0xBF22 => Self::Info2,
            0xBF28 => Self::ListNotification(members.optional(0x81)?.map_or(Ok(Events::ALL), bits)?),
            0xBF29 => {
                let profile = members.profile()?;
                let nickname = text(members.required(0x90)?, MAX_NICKNAME)?;
                match profile {
                    Identifier::Iccid(_) => Self::SetNickname { profile, nickname },
                    Identifier::IsdP(_) => return Err(Status::WRONG_DATA),
                }
            }
            0xBF2B => Self::RetrieveNotifications(members.wanted()?),
            0xBF2D => Self::ProfilesInfo(members.profiles_info()?),
            0xBF30 => Self::RemoveNotification(number(members.required(0x80)?)?),
            0xBF31 => Self::Enable(members.profile_and_refresh_flag()?),
            0xBF32 => Self::Disable(members.profile_and_refresh_flag()?),
            0xBF33 => Self::Delete(members.profile()?),
            0xBF34 => {
                Self::MemoryReset(bits(members.required(0x82)?).map(|Events(bits)| ResetOptions(bits))?)
            }
            0xBF3C => Self::ConfiguredAddresses,
            0xBF3E => match members.required(0x5C)? {
                [0x5A] => Self::Eid,
                _ => return Err(Status::WRONG_DATA),
            },
            0xBF3F => Self::SetDefaultDpAddress(text(members.required(0x80)?, MAX_ADDRESS)?),
            0xBF43 => Self::RulesAuthorisationTable,
            _ => return Err(Status::REFERENCED_DATA_NOT_FOUND),
        })
    }
}

/// The members of a sequence, in their order.
struct Members<'a>(TlvReader<'a>);

impl<'a> Members<'a> {
    fn is_read(&self) -> bool {
        self.0.remaining().is_empty()
    }

    fn optional(&mut self, tag: Tag) -> Result<Option<&'a [u8]>, Status> {
        let mut ahead = self.0.clone();
        match ahead.next_object().map_err(malformed)? {
            Some((found, value)) if found == tag => {
                self.0 = ahead;
                Ok(Some(value))
            }
            _ => Ok(None),
        }
    }

    fn required(&mut self, tag: Tag) -> Result<&'a [u8], Status> {
        self.optional(tag)?.ok_or(Status::WRONG_DATA)
    }

    fn profile(&mut self) -> Result<Identifier<'a>, Status> {
        let identifier = match self.optional(0x5A)? {
            Some(iccid) => Identifier::Iccid(iccid),
            None => Identifier::IsdP(self.required(0x4F)?),
        };
        if identifier.is_right() { Ok(identifier) } else { Err(Status::WRONG_DATA) }
    }

    /// No REFRESH follows whichever it is: the card has no proactive commands. The switch is in force at once.
    fn profile_and_refresh_flag(&mut self) -> Result<Identifier<'a>, Status> {
        let mut choice = Members(TlvReader::new(self.required(0xA0)?));
        let profile = choice.profile()?;
        match (choice.is_read(), self.required(0x81)?) {
            (true, [_]) => Ok(profile),
            _ => Err(Status::WRONG_DATA),
        }
    }

    fn profiles_info(&mut self) -> Result<ProfilesInfo<'a>, Status> {
        let criterion = self.optional(0xA0)?.map(Criterion::parse);
        Ok(ProfilesInfo { criterion, tags: self.optional(0x5C)? })
    }

    fn wanted(&mut self) -> Result<Wanted, Status> {
        let Some(choice) = self.optional(0xA0)? else { return Ok(Wanted::Of(Events::ALL)) };
        let mut choice = Members(TlvReader::new(choice));
        let wanted = match choice.optional(0x80)? {
            Some(sequence) => Wanted::Sequence(number(sequence)?),
            None => Wanted::Of(bits(choice.required(0x81)?)?),
        };
        if choice.is_read() { Ok(wanted) } else { Err(Status::WRONG_DATA) }
    }
}

impl Identifier<'_> {
    const fn is_right(self) -> bool {
        match self {
            Self::Iccid(iccid) => iccid.len() == 10,
            Self::IsdP(aid) => matches!(aid.len(), 5..=16),
        }
    }
}

impl<'a> Criterion<'a> {
    /// `None`: there is no such criterion, or its value is none.
    fn parse(choice: &'a [u8]) -> Option<Self> {
        let mut choice = Members(TlvReader::new(choice));
        let criterion = match choice.optional(0x95).ok()? {
            Some([0]) => Self::Class(ProfileClass::Test),
            Some([1]) => Self::Class(ProfileClass::Provisioning),
            Some([2]) => Self::Class(ProfileClass::Operational),
            Some(_) => return None,
            None => Self::Profile(choice.profile().ok()?),
        };
        choice.is_read().then_some(criterion)
    }
}

/// The first eight bits of a bit string (ISO/IEC 8825-1, 8.6); no further ones have a meaning.
fn bits(value: &[u8]) -> Result<Events, Status> {
    match *value {
        [0] => Ok(Events(0)),
        [0..=7, first, ..] => Ok(Events(first)),
        _ => Err(Status::WRONG_DATA),
    }
}

/// A number that is not negative (ibid., 8.3). Clients leave the zero away that tells it from a negative one.
fn number(value: &[u8]) -> Result<u32, Status> {
    let digits = value.strip_prefix(&[0]).unwrap_or(value);
    match (value.len(), digits.len()) {
        (1.., ..=4) => Ok(digits.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))),
        _ => Err(Status::WRONG_DATA),
    }
}

fn text(value: &[u8], longest: usize) -> Result<&str, Status> {
    let text = str::from_utf8(value).map_err(|_| Status::WRONG_DATA)?;
    if text.len() <= longest { Ok(text) } else { Err(Status::WRONG_DATA) }
}
