//! The stored profiles of each release, which every later one must open.

use std::{env, fs};

use cardhost_wire::{control::Commit, profiles::ProfileClass};

use crate::{
    harness::{Host, Terminal, hex},
    local_assistant::{
        card_with, disable, enable, enabled, es10, iccid, list, notifying, of_class, open, profile, result,
        send, set_nickname,
    },
};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/euicc-v1.bin");

/// Makes the fixture. Only before the first release that writes this format; from then on it stays as it is.
fn freeze() {
    let profiles = [notifying(0), of_class(1, ProfileClass::Test), of_class(2, ProfileClass::Provisioning)];
    let mut terminal = card_with(profiles.into_iter().chain([profile(3)]));
    assert_eq!((enable(&mut terminal, 0), enable(&mut terminal, 1)), (0, 0));
    set_nickname(&mut terminal, 3, b"mine").unwrap();
    assert_eq!(result(&mut terminal, &hex("BF3F0A8008736D2E6C6F63616C")), 0);
    assert_eq!(result(&mut terminal, &hex("BF3003800101")), 0);
    fs::write(PATH, postcard::to_allocvec(&terminal.host().state()).unwrap()).unwrap();
}

#[test]
fn the_profiles_of_version_1_open_and_work() {
    if env::var_os("CARDHOST_FREEZE").is_some() {
        freeze();
    }
    let state: Commit = postcard::from_bytes(&fs::read(PATH).unwrap()).unwrap();
    let credentials = state.credentials.clone();
    let mut terminal = Terminal::start(Host::storing(state), false);
    assert_eq!(terminal.started().credentials, credentials);
    open(&mut terminal);
    let nicknames: Vec<_> = list(&mut terminal).iter().map(|told| told.metadata.nickname.clone()).collect();
    assert_eq!(nicknames, [None, None, None, Some("mine".to_owned())]);
    let told: Vec<_> = list(&mut terminal).into_iter().map(|told| told.metadata).collect();
    assert_eq!(told[0], notifying(0).metadata);
    assert_eq!((told[1].class, told[2].class), (ProfileClass::Test, ProfileClass::Provisioning));
    assert_eq!(es10(&mut terminal, &hex("BF3C00")).unwrap(), hex("BF3C0C8008736D2E6C6F63616C8100"));
    // Its installation was removed, its disabling waits.
    assert_eq!(result(&mut terminal, &hex("BF3003800100")), 1);
    assert_eq!(es10(&mut terminal, &hex("BF2B05A003800102")).unwrap(), hex("BF2B0381017F"));
    assert_eq!(enabled(&mut terminal), Some(iccid(1)));
    assert_eq!(disable(&mut terminal, 1), 0);
    assert_eq!(enabled(&mut terminal), Some(iccid(0)), "what the test profile displaced");
    assert_eq!(send(&mut terminal, &hex("00A4040C07A0000000871002")).1, 0x9000);
    let subscriber = send(&mut terminal, &hex("00B0870009")).0;
    assert_eq!(subscriber, profile(0).imsi.coded());
}
