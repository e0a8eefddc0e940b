//! Every change is one commit: it is made whole, or not at all and not in memory either.

use cardhost_wire::{
    control::{Command, Failure},
    profiles::ProfileCommand,
};

use crate::{
    harness::{Terminal, hex},
    local_assistant::{card_with, es10, iccid, install, list, notifying, of_class, open, profile, reset},
};

const DISABLED: usize = 0;
const ENABLED: usize = 1;

/// A card with a disabled and an enabled profile, and notifications that wait.
fn card() -> Terminal {
    let mut terminal = card_with([notifying(DISABLED), notifying(ENABLED)]);
    assert_eq!(crate::local_assistant::enable(&mut terminal, ENABLED), 0);
    terminal
}

/// One of each change, by APDU: the request and its successful answer.
fn changes() -> Vec<(Vec<u8>, Vec<u8>)> {
    let [disabled, enabled] =
        [DISABLED, ENABLED].map(|number| format!("5A0A{}", hex::encode(iccid(number).coded())));
    let changes = [
        (format!("BF3111A00C{disabled}810100"), "BF3103800100"),
        (format!("BF3211A00C{enabled}810100"), "BF3203800100"),
        (format!("BF330C{disabled}"), "BF3303800100"),
        (format!("BF290F{disabled}900141"), "BF2903800100"),
        ("BF340482020780".to_owned(), "BF3403800100"),
        ("BF3F03800141".to_owned(), "BF3F03800100"),
        ("BF3003800101".to_owned(), "BF3003800100"),
    ];
    changes.map(|(request, answer)| (hex(&request), hex(answer))).into()
}

/// All that a terminal can learn of the state.
fn told(terminal: &mut Terminal) -> Vec<Vec<u8>> {
    ["BF2D0B5C095A4F9F7090919295B6", "BF2800", "BF3C00"]
        .map(|request| es10(terminal, &hex(request)).unwrap())
        .into()
}

#[test]
fn a_change_is_one_commit_that_lasts() {
    for (request, answer) in changes() {
        let mut terminal = card();
        let commits = terminal.host().commits;
        assert_eq!(es10(&mut terminal, &request), Ok(answer), "{request:02X?}");
        assert_eq!(terminal.host().commits, commits + 1);
        let after = told(&mut terminal);
        let mut terminal = terminal.restarted();
        open(&mut terminal);
        assert_eq!(told(&mut terminal), after);
    }
}

#[test]
fn a_change_that_is_not_durable_is_not_made() {
    let mut terminal = card();
    let before = told(&mut terminal);
    terminal.host().willing = 0;
    for (request, _) in changes() {
        assert_eq!(es10(&mut terminal, &request), Err(0x6581), "{request:02X?}");
        assert_eq!(told(&mut terminal), before);
    }
    let delete = Command::Profile(ProfileCommand::Delete(iccid(ENABLED)));
    assert_eq!(terminal.command(delete).err(), Some(Failure::NotCommitted));
    assert_eq!(install(&mut terminal, profile(2)).err(), Some(Failure::NotCommitted));
    let mut terminal = terminal.restarted();
    open(&mut terminal);
    assert_eq!(told(&mut terminal), before);
}

/// A reset of eight profiles is cut off at its only commit, or is whole.
#[test]
fn a_reset_is_all_or_nothing() {
    let test = |number| of_class(number, cardhost_wire::profiles::ProfileClass::Test);
    let mut terminal = card_with((0..4).map(profile).chain((4..8).map(test)));
    terminal.host().willing = 0;
    let request = hex("BF3404820206C0");
    assert_eq!(es10(&mut terminal, &request), Err(0x6581));
    let mut terminal = terminal.restarted();
    open(&mut terminal);
    assert_eq!(list(&mut terminal).len(), 8);
    assert_eq!(reset(&mut terminal, 0xC0), 0);
    let mut terminal = terminal.restarted();
    assert!(list(&mut terminal).is_empty());
    assert!(terminal.started().credentials.is_empty());
}

#[test]
fn questions_write_nothing() {
    let mut terminal = card();
    let commits = terminal.host().commits;
    told(&mut terminal);
    for request in ["BF3E035C015A", "BF2000", "BF2200", "BF4300", "BF2B00"] {
        es10(&mut terminal, &hex(request)).unwrap();
    }
    list(&mut terminal);
    assert_eq!(terminal.host().commits, commits);
}
