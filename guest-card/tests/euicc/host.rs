//! The host's commands about profiles.

use cardhost_wire::{
    control::{Command, Credential, Failure},
    key::{Algorithm, KeyReference, Secret},
    profiles::{MAX_PROFILES, NewProfile, ProfileCommand, isd_p},
};

use crate::{
    harness::Terminal,
    local_assistant::{
        card_with, delete, enable, enabled, iccid, install, list, notifying, of_class, open, profile, reset,
    },
};

fn remove(terminal: &mut Terminal, number: usize) -> Result<(), Failure> {
    terminal.command(Command::Profile(ProfileCommand::Delete(iccid(number)))).map(drop)
}

#[test]
fn a_profile_is_installed_disabled_and_told_without_its_keys() {
    let mut terminal = card_with([]);
    assert!(list(&mut terminal).is_empty());
    let installed = install(&mut terminal, notifying(0)).unwrap();
    assert_eq!((installed.isdp_aid, installed.enabled), (isd_p(0), false));
    assert_eq!(installed.metadata, notifying(0).metadata);
    assert_eq!(list(&mut terminal), [installed]);
    assert_eq!(install(&mut terminal, profile(0)).err(), Some(Failure::ProfileExists));
    assert_eq!(remove(&mut terminal, 1).err(), Some(Failure::NoProfile));
}

#[test]
fn there_are_so_many_profiles_and_no_more() {
    let mut terminal = card_with((0..MAX_PROFILES).map(profile));
    assert_eq!(install(&mut terminal, profile(MAX_PROFILES)).err(), Some(Failure::NoMemory));
    remove(&mut terminal, 3).unwrap();
    assert_eq!(install(&mut terminal, profile(MAX_PROFILES)).unwrap().isdp_aid, isd_p(3));
}

#[test]
fn a_malformed_profile_is_refused() {
    let mut terminal = card_with([]);
    let changes: [fn(&mut NewProfile); 8] = [
        |profile| profile.k = Secret(vec![0; 15]),
        |profile| profile.opc = Secret(vec![]),
        |profile| profile.metadata.service_provider_name = "x".repeat(33),
        |profile| profile.metadata.profile_name = "x".repeat(65),
        |profile| profile.metadata.nickname = Some("x".repeat(65)),
        |profile| profile.metadata.notifications[0].address.clear(),
        |profile| profile.metadata.notifications[0].events.clear(),
        |profile| {
            let one = profile.metadata.notifications[0].clone();
            profile.metadata.notifications = vec![one; 5];
        },
    ];
    for change in changes {
        let mut wrong = notifying(0);
        change(&mut wrong);
        assert_eq!(install(&mut terminal, wrong).err(), Some(Failure::Malformed));
    }
    assert!(list(&mut terminal).is_empty());
}

#[test]
fn the_host_deletes_an_enabled_profile() {
    let test = of_class(1, cardhost_wire::profiles::ProfileClass::Test);
    let mut terminal = card_with([profile(0), test]);
    assert_eq!((enable(&mut terminal, 0), enable(&mut terminal, 1)), (0, 0));
    remove(&mut terminal, 1).unwrap();
    assert_eq!(enabled(&mut terminal), Some(iccid(0)));
    remove(&mut terminal, 0).unwrap();
    assert_eq!(enabled(&mut terminal), None);
}

/// Whichever way it comes and goes, a profile is what the card lives for.
#[test]
fn profiles_are_credentials_beside_keys() {
    let mut terminal = card_with([profile(1), profile(0)]);
    terminal.authenticate();
    terminal.generate(0x9A, 0x11);
    let credentials = terminal.host().credentials.clone();
    let [Credential::Key(key), Credential::Profile(first), Credential::Profile(second)] = &credentials[..]
    else {
        panic!("{credentials:?}")
    };
    assert_eq!((key.key_reference, key.algorithm), (KeyReference(0x9A), Algorithm::P256));
    assert_eq!((*first, *second), (iccid(1), iccid(0)));
    let mut terminal = terminal.restarted();
    assert_eq!(terminal.started().credentials, credentials);
    open(&mut terminal);
    terminal.command(Command::DeleteCredential(KeyReference(0x9A))).unwrap();
    assert_eq!(terminal.host().credentials, credentials[1..]);
    assert_eq!(delete(&mut terminal, 1), 0);
    assert_eq!(terminal.host().credentials, [Credential::Profile(iccid(0))]);
    assert_eq!(reset(&mut terminal, 0x80), 0);
    assert!(terminal.host().credentials.is_empty());
}

#[test]
fn the_host_s_work_changes_no_session() {
    let mut terminal = card_with([profile(0)]);
    let state = terminal.session_state();
    install(&mut terminal, profile(1)).unwrap();
    remove(&mut terminal, 0).unwrap();
    assert_eq!(terminal.session_state(), state);
}
