//! eUICC profiles (GSMA SGP.22): what host and guest must agree on.
//!
//! A profile's metadata are bounded here, so that both sides refuse the same. Its keys go into the guest and never
//! come back.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::key::Secret;

/// Most profiles of a card.
pub const MAX_PROFILES: usize = 8;
/// Longest service provider name, bytes (SGP.22, 2.4.5.1: `serviceProviderName`).
pub const MAX_SERVICE_PROVIDER_NAME: usize = 32;
/// Longest profile name, bytes (`profileName`).
pub const MAX_PROFILE_NAME: usize = 64;
/// Longest nickname, bytes (`profileNickname`).
pub const MAX_NICKNAME: usize = 64;
/// Most addresses that a profile's notifications go to.
pub const MAX_NOTIFICATION_ADDRESSES: usize = 4;
/// Longest address of a server, bytes.
pub const MAX_ADDRESS: usize = 128;
/// Bytes of K and of OPc (3GPP TS 35.206).
pub const SUBSCRIBER_KEY: usize = 16;
/// AID of the first ISD-P (SGP.02, 2.2.3); the last but one byte counts on.
const FIRST_ISD_P: [u8; 16] =
    [0xA0, 0x00, 0x00, 0x05, 0x59, 0x10, 0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x89, 0x00, 0x00, 0x10, 0x00];

/// AID of the security domain that holds the profile in this place.
pub const fn isd_p(place: u8) -> [u8; 16] {
    let mut aid = FIRST_ISD_P;
    aid[14] += place;
    aid
}

/// The text is no such number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedNumber(&'static str);

impl fmt::Display for MalformedNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for MalformedNumber {}

/// A profile's identifier: 19 or 20 digits, the last of which is Luhn's check digit (ITU-T E.118). Ordered by digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "[u8; 10]", into = "[u8; 10]")]
pub struct Iccid {
    /// Two digits in each byte, the first one high; `F` stands for a twentieth that is not there.
    digits: [u8; 10],
}

impl Iccid {
    /// As EF ICCID has it (ETSI TS 102 221, 13.2): the first digit of each byte low.
    pub fn coded(&self) -> [u8; 10] {
        self.digits.map(|byte| byte.rotate_left(4))
    }

    /// True if these bytes, coded as EF ICCID, are this number.
    pub fn is_coded_as(&self, coded: &[u8]) -> bool {
        self.coded() == coded
    }
}

impl FromStr for Iccid {
    type Err = MalformedNumber;

    fn from_str(text: &str) -> Result<Self, MalformedNumber> {
        const MALFORMED: MalformedNumber =
            MalformedNumber("an ICCID has 19 or 20 digits, the last of which is Luhn's check digit");
        let valid = matches!(text.len(), 19 | 20) && is_digits(text) && passes_luhn(text);
        let digits = valid.then(|| packed(text)).ok_or(MALFORMED)?;
        Ok(Self { digits })
    }
}

impl TryFrom<[u8; 10]> for Iccid {
    type Error = MalformedNumber;

    fn try_from(digits: [u8; 10]) -> Result<Self, MalformedNumber> {
        Self { digits }.to_string().parse()
    }
}

impl From<Iccid> for [u8; 10] {
    fn from(iccid: Iccid) -> Self {
        iccid.digits
    }
}

impl fmt::Display for Iccid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nibbles = self.digits.iter().flat_map(|byte| [byte >> 4, byte & 0x0F]).enumerate();
        for (_, nibble) in nibbles.filter(|&(at, nibble)| at < 19 || nibble != 0x0F) {
            write!(f, "{nibble:X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Iccid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Iccid({self})")
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// ISO/IEC 7812-1, annex B: every second digit from the right but one counts double, digit by digit.
fn passes_luhn(digits: &str) -> bool {
    let digit = |(at, byte): (usize, u8)| match (at % 2, byte - b'0') {
        (0, digit) => u32::from(digit),
        (_, digit) => u32::from(digit * 2 / 10 + digit * 2 % 10),
    };
    digits.bytes().rev().enumerate().map(digit).sum::<u32>() % 10 == 0
}

fn packed(digits: &str) -> [u8; 10] {
    let mut packed = [0xFF; 10];
    for (at, digit) in digits.bytes().map(|byte| byte - b'0').enumerate() {
        let byte = &mut packed[at / 2];
        *byte = if at % 2 == 0 { digit << 4 | 0x0F } else { *byte & 0xF0 | digit };
    }
    packed
}

/// An International Mobile Subscriber Identity: 6 to 15 digits (3GPP TS 23.003, 2.2). No `Debug`: it names a person.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Imsi(String);

impl Imsi {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As EF IMSI has it (3GPP TS 31.102, 4.2.2): length, then parity and first digit, then the others.
    pub fn coded(&self) -> [u8; 9] {
        let parity = if self.0.len() % 2 == 1 { 9 } else { 1 };
        let digits = self.0.bytes().map(|byte| byte - b'0');
        let mut coded = [0xFF; 9];
        coded[0] = (self.0.len() / 2 + 1) as u8;
        for (at, nibble) in core::iter::once(parity).chain(digits).enumerate() {
            let byte = &mut coded[1 + at / 2];
            *byte = if at % 2 == 0 { 0xF0 | nibble } else { nibble << 4 | *byte & 0x0F };
        }
        coded
    }
}

impl FromStr for Imsi {
    type Err = MalformedNumber;

    fn from_str(text: &str) -> Result<Self, MalformedNumber> {
        Self::try_from(String::from(text))
    }
}

impl TryFrom<String> for Imsi {
    type Error = MalformedNumber;

    fn try_from(text: String) -> Result<Self, MalformedNumber> {
        let valid = matches!(text.len(), 6..=15) && is_digits(&text);
        valid.then_some(Self(text)).ok_or(MalformedNumber("an IMSI has 6 to 15 digits"))
    }
}

impl From<Imsi> for String {
    fn from(imsi: Imsi) -> Self {
        imsi.0
    }
}

impl fmt::Debug for Imsi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Imsi")
    }
}

/// `ProfileClass` (SGP.22, annex H).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum ProfileClass {
    /// For tests of the terminal.
    Test = 0,
    /// To fetch operational ones with.
    Provisioning = 1,
    /// A subscription.
    Operational = 2,
}

/// `NotificationEvent` (ibid.): one bit of its string each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum NotificationEvent {
    /// The profile was installed.
    Install = 0x80,
    /// It was enabled.
    Enable = 0x40,
    /// It was disabled.
    Disable = 0x20,
    /// It was deleted.
    Delete = 0x10,
}

/// To whom a profile's events are to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationConfiguration {
    /// Of which events.
    pub events: Vec<NotificationEvent>,
    /// The server's name.
    pub address: String,
}

/// What is told of a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileMetadata {
    /// Its identifier.
    pub iccid: Iccid,
    /// Who offers it; at most [`MAX_SERVICE_PROVIDER_NAME`] bytes.
    pub service_provider_name: String,
    /// What it is called; at most [`MAX_PROFILE_NAME`] bytes.
    pub profile_name: String,
    /// Its class.
    pub class: ProfileClass,
    /// What the user calls it; at most [`MAX_NICKNAME`] bytes.
    pub nickname: Option<String>,
    /// At most [`MAX_NOTIFICATION_ADDRESSES`].
    pub notifications: Vec<NotificationConfiguration>,
}

/// A profile that is to be installed.
#[derive(Debug, Serialize, Deserialize)]
pub struct NewProfile {
    /// What is told of it.
    pub metadata: ProfileMetadata,
    /// The subscriber.
    pub imsi: Imsi,
    /// The subscriber key K, [`SUBSCRIBER_KEY`] bytes.
    pub k: Secret,
    /// OPc (3GPP TS 35.206, 8), as long.
    pub opc: Secret,
}

/// What is wrong with a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfileFault {
    /// A name or nickname is too long.
    Name,
    /// K or OPc has another length.
    Key,
    /// Too many addresses for notifications, an empty or too long one, or one without an event.
    Notifications,
}

impl fmt::Display for ProfileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => {
                "a service provider name has at most 32 bytes, a profile name or nickname at most 64"
            }
            Self::Key => "K and OPc have 16 bytes each",
            Self::Notifications => {
                "a profile has at most 4 notification addresses of 1 to 128 bytes, each with an event"
            }
        })
    }
}

impl core::error::Error for ProfileFault {}

impl NewProfile {
    /// Checks lengths. To be asked of what was decoded.
    ///
    /// # Errors
    /// [`ProfileFault`]
    pub fn check(&self) -> Result<(), ProfileFault> {
        let keys = [&self.k, &self.opc];
        if keys.iter().any(|key| key.0.len() != SUBSCRIBER_KEY) {
            return Err(ProfileFault::Key);
        }
        self.metadata.check()
    }
}

impl ProfileMetadata {
    /// Checks lengths. To be asked of what was decoded.
    ///
    /// # Errors
    /// [`ProfileFault`]
    pub fn check(&self) -> Result<(), ProfileFault> {
        let nickname = self.nickname.as_deref().unwrap_or_default();
        let short = self.service_provider_name.len() <= MAX_SERVICE_PROVIDER_NAME
            && self.profile_name.len() <= MAX_PROFILE_NAME
            && nickname.len() <= MAX_NICKNAME;
        if !short {
            return Err(ProfileFault::Name);
        }
        let few = self.notifications.len() <= MAX_NOTIFICATION_ADDRESSES;
        let right = few && self.notifications.iter().all(NotificationConfiguration::is_right);
        if right { Ok(()) } else { Err(ProfileFault::Notifications) }
    }
}

impl NotificationConfiguration {
    fn is_right(&self) -> bool {
        matches!(self.address.len(), 1..=MAX_ADDRESS) && matches!(self.events.len(), 1..=4)
    }
}

/// A profile as the guest tells it: never its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// AID of its security domain.
    pub isdp_aid: [u8; 16],
    /// True for the one that is in force.
    pub enabled: bool,
    /// What is told of it.
    pub metadata: ProfileMetadata,
}

/// The host's commands about profiles. The guest checks each itself; none tells a profile's keys.
#[derive(Debug, Serialize, Deserialize)]
pub enum ProfileCommand {
    /// Installs a profile, disabled. Answers [`crate::control::Answer::Profiles`] with it alone.
    Install(NewProfile),
    /// Answers [`crate::control::Answer::Profiles`].
    List,
    /// Deletes a profile, disabled first if it is in force. Answers [`crate::control::Answer::Done`].
    Delete(Iccid),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iccids_are_checked_and_survive_a_round_trip() {
        for text in ["8988211000000510217", "89882110000005102191"] {
            let iccid: Iccid = text.parse().unwrap();
            assert_eq!(iccid.to_string(), text);
            assert_eq!(Iccid::try_from(<[u8; 10]>::from(iccid)), Ok(iccid));
        }
        let coded = "8988211000000510217".parse::<Iccid>().unwrap().coded();
        assert_eq!(coded, [0x98, 0x88, 0x12, 0x01, 0x00, 0x00, 0x50, 0x01, 0x12, 0xF7]);
    }

    #[test]
    fn one_check_digit_in_ten_is_right() {
        for digits in ["898821100000051021", "8988211000000510219"] {
            let right = (0..10).filter(|last| alloc::format!("{digits}{last}").parse::<Iccid>().is_ok());
            assert_eq!(right.count(), 1);
        }
        for text in ["", "89882110000005102", "8988211000000510A12", "898821100000051021200"] {
            assert!(text.parse::<Iccid>().is_err(), "{text}");
        }
        assert!(Iccid::try_from([0xAA; 10]).is_err() && Iccid::try_from([0xFF; 10]).is_err());
    }

    /// The example of 3GPP TS 31.102's coding with an odd and an even number of digits.
    #[test]
    fn imsis_are_coded_with_length_and_parity() {
        let coded = |text: &str| text.parse::<Imsi>().unwrap().coded();
        assert_eq!(coded("001010123456789"), [8, 0x09, 0x10, 0x10, 0x10, 0x32, 0x54, 0x76, 0x98]);
        assert_eq!(coded("00101012345678"), [8, 0x01, 0x10, 0x10, 0x10, 0x32, 0x54, 0x76, 0xF8]);
        assert!(["12345", "1234567890123456", "12345X"].iter().all(|text| text.parse::<Imsi>().is_err()));
    }
}
