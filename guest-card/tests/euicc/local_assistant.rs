//! A Local Profile Assistant's way to the ISD-R (GSMA SGP.22, 5.7.2), and profiles to manage.
#![allow(dead_code, reason = "each of the test programs that share it uses its own part")]

use cardhost_wire::{
    control::{Answer, Command, Failure},
    key::Secret,
    port::{Port, Protocol},
    profiles::{
        Iccid, NewProfile, NotificationConfiguration, NotificationEvent, Profile, ProfileClass,
        ProfileCommand, ProfileMetadata,
    },
    tlv::{object, only},
};

use crate::harness::{Terminal, hex};

/// What clients put into one block at most.
const BLOCK: usize = 120;
/// ICCIDs with their check digits.
const ICCIDS: [&str; 10] = [
    "8901000000000000001",
    "89010000000000000011",
    "8910000000000000002",
    "8930000000000000125",
    "8988211000000510217",
    "89882110000005102191",
    "89445000000000000001",
    "89014103211118510720",
    "8949000000000000018",
    "8949000000000000026",
];

/// Any of these ICCIDs.
pub fn iccid(number: usize) -> Iccid {
    ICCIDS[number].parse().unwrap_or_else(|_| panic!("{}", ICCIDS[number]))
}

/// An operational profile without notifications.
pub fn profile(number: usize) -> NewProfile {
    let metadata = ProfileMetadata {
        iccid: iccid(number),
        service_provider_name: "Provider".into(),
        profile_name: format!("Profile {number}"),
        class: ProfileClass::Operational,
        nickname: None,
        notifications: vec![],
    };
    let imsi = format!("00101012345678{number}").parse().unwrap();
    NewProfile { metadata, imsi, k: Secret(vec![0x4B; 16]), opc: Secret(vec![number as u8; 16]) }
}

/// The same, of another class.
pub fn of_class(number: usize, class: ProfileClass) -> NewProfile {
    let mut profile = profile(number);
    profile.metadata.class = class;
    profile
}

/// The same, with all events for one server and deletions for another one.
pub fn notifying(number: usize) -> NewProfile {
    use NotificationEvent::{Delete, Disable, Enable, Install};
    let mut profile = profile(number);
    let configuration = |events, address: &str| NotificationConfiguration { events, address: address.into() };
    profile.metadata.notifications = vec![
        configuration(vec![Install, Enable, Disable, Delete], "all.example"),
        configuration(vec![Delete], "deletions.example"),
    ];
    profile
}

/// A card with these profiles.
pub fn card_with(profiles: impl IntoIterator<Item = NewProfile>) -> Terminal {
    let mut terminal = Terminal::new();
    for profile in profiles {
        install(&mut terminal, profile).unwrap();
    }
    open(&mut terminal);
    terminal
}

/// Has the host install a profile.
pub fn install(terminal: &mut Terminal, profile: NewProfile) -> Result<Profile, Failure> {
    match terminal.command(Command::Profile(ProfileCommand::Install(profile)))? {
        Answer::Profiles(mut profiles) if profiles.len() == 1 => Ok(profiles.remove(0)),
        other => panic!("{other:?}"),
    }
}

/// What the host is told of the profiles.
pub fn list(terminal: &mut Terminal) -> Vec<Profile> {
    match terminal.command(Command::Profile(ProfileCommand::List)) {
        Ok(Answer::Profiles(profiles)) => profiles,
        other => panic!("{other:?}"),
    }
}

/// The ICCID of the enabled profile.
pub fn enabled(terminal: &mut Terminal) -> Option<Iccid> {
    let mut enabled = list(terminal).into_iter().filter(|profile| profile.enabled);
    let found = enabled.next().map(|profile| profile.metadata.iccid);
    assert!(enabled.next().is_none(), "at most one is enabled");
    found
}

/// One command on the UICC's protocol.
pub fn send(terminal: &mut Terminal, command: &[u8]) -> (Vec<u8>, u16) {
    let mut answer = terminal.card().transmit(Port::Apdu(Protocol::Iso7816T1), command).unwrap();
    let status = answer.split_off(answer.len() - 2);
    (answer, u16::from_be_bytes([status[0], status[1]]))
}

/// Opens channel 1 and selects the ISD-R there.
pub fn open(terminal: &mut Terminal) {
    terminal.card().reset(Port::Apdu(Protocol::Iso7816T1));
    assert_eq!(send(terminal, &hex("80AA00000AA9088100820101830107")).1, 0x9000);
    assert_eq!(send(terminal, &hex("0070000001")), (vec![1], 0x9000));
    let (answer, status) = send(terminal, &hex("01A4040010A0000005591010FFFFFFFF8900000100"));
    assert!(answer.starts_with(&hex("6F198410A0000005591010FFFFFFFF8900000100")) && status == 0x9000);
}

/// One function: its request in blocks without Le, its response as it comes.
pub fn es10(terminal: &mut Terminal, request: &[u8]) -> Result<Vec<u8>, u16> {
    let blocks: Vec<_> = request.chunks(BLOCK).collect();
    let (last, before) = blocks.split_last().unwrap();
    for (number, block) in before.iter().enumerate() {
        let header = [0x81, 0xE2, 0x11, number as u8, block.len() as u8];
        assert_eq!(send(terminal, &[&header, *block].concat()), (vec![], 0x9000));
    }
    let header = [0x81, 0xE2, 0x91, before.len() as u8, last.len() as u8];
    let (mut response, mut status) = send(terminal, &[&header, *last].concat());
    while status >> 8 == 0x61 {
        let (more, next) = send(terminal, &[0x81, 0xC0, 0, 0, status as u8]);
        response.extend(more);
        status = next;
    }
    if status == 0x9000 { Ok(response) } else { Err(status) }
}

/// A function whose response is a result alone.
pub fn result(terminal: &mut Terminal, request: &[u8]) -> u8 {
    let response = es10(terminal, request).unwrap();
    let tag = u32::from(request[0]) << 8 | u32::from(request[1]);
    match only(only(&response, tag).unwrap(), 0x80).unwrap() {
        [result] => *result,
        _ => panic!("{response:02X?}"),
    }
}

fn by_iccid(iccid: Iccid) -> Vec<u8> {
    object(0x5A, &iccid.coded())
}

fn switch(tag: u32, identifier: &[u8]) -> Vec<u8> {
    object(tag, &[object(0xA0, identifier), hex("8101FF")].concat())
}

/// EnableProfile.
pub fn enable(terminal: &mut Terminal, number: usize) -> u8 {
    result(terminal, &switch(0xBF31, &by_iccid(iccid(number))))
}

/// DisableProfile.
pub fn disable(terminal: &mut Terminal, number: usize) -> u8 {
    result(terminal, &switch(0xBF32, &by_iccid(iccid(number))))
}

/// EnableProfile by the AID of its security domain.
pub fn enable_isd_p(terminal: &mut Terminal, aid: &[u8]) -> u8 {
    result(terminal, &switch(0xBF31, &object(0x4F, aid)))
}

/// DeleteProfile.
pub fn delete(terminal: &mut Terminal, number: usize) -> u8 {
    result(terminal, &object(0xBF33, &by_iccid(iccid(number))))
}

/// SetNickname.
pub fn set_nickname(terminal: &mut Terminal, number: usize, nickname: &[u8]) -> Result<Vec<u8>, u16> {
    let request = object(0xBF29, &[by_iccid(iccid(number)), object(0x90, nickname)].concat());
    es10(terminal, &request)
}

/// eUICCMemoryReset.
pub fn reset(terminal: &mut Terminal, options: u8) -> u8 {
    result(terminal, &object(0xBF34, &object(0x82, &[5, options])))
}
