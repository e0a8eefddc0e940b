//! Revocation lists: which are taken, and what they end.

use cardhost_wire::{
    control::{Answer, Failure},
    pairing::PairingCommand,
    tlv::object,
};

use crate::{
    authority::{CARDS, List, certified, command, read},
    device::{Device, authenticate, serial},
    harness::Terminal,
    off_card::Set,
};

/// A card with three paired terminals.
fn paired() -> Terminal {
    let mut terminal = certified();
    for number in 1..=3 {
        Device::new(number).pair(&mut terminal, 0x60 + number).unwrap();
    }
    terminal
}

fn versions(terminal: &mut Terminal) -> Vec<u8> {
    read(terminal).pairings.iter().map(|pairing| pairing.kvn).collect()
}

fn outcome(terminal: &mut Terminal, list: &List) -> Option<Failure> {
    match list.deliver(terminal) {
        Ok(Answer::Done) => None,
        Ok(other) => panic!("{other:?}"),
        Err(failure) => Some(failure),
    }
}

#[test]
fn a_list_ends_the_pairings_in_it_for_good() {
    let mut terminal = paired();
    let commits = terminal.host().commits;
    assert_eq!(outcome(&mut terminal, &List::new(5, &[&serial(3), &[0x07], &serial(1)])), None);
    assert_eq!(terminal.host().commits, commits + 1, "one change");
    let mut terminal = terminal.restarted();
    assert_eq!(versions(&mut terminal), [0x62]);
    assert_eq!(read(&mut terminal).revocations, Some(5));
    assert_eq!(authenticate(&mut terminal, &Set::made_up(0x61, 16)).err(), Some(0x6A88));
    authenticate(&mut terminal, &Set::made_up(0x62, 16)).unwrap();
    for (number, expected) in [(1, Some(0x6982)), (2, None), (3, Some(0x6982))] {
        assert_eq!(Device::new(number).set_up(&mut terminal).err(), expected);
    }
    Device::named("terminal-1", 9).pair(&mut terminal, 0x61).unwrap();
}

#[test]
fn numbers_rise_and_the_same_number_changes_nothing() {
    let mut terminal = paired();
    assert_eq!(outcome(&mut terminal, &List::new(7, &[])), None);
    let commits = terminal.host().commits;
    assert_eq!(outcome(&mut terminal, &List::new(7, &[&serial(1)])), None);
    assert_eq!(outcome(&mut terminal, &List::new(6, &[&serial(1)])), Some(Failure::Outdated));
    assert_eq!((versions(&mut terminal).len(), terminal.host().commits), (3, commits));
    assert_eq!(read(&mut terminal).revocations, Some(7));
    for (number, expected) in [(vec![0x00, 0xFF], Some(255)), (vec![1; 8], Some(0x0101_0101_0101_0101))] {
        let list = List { number: Some(number), ..List::new(0, &[]) };
        assert_eq!(outcome(&mut terminal, &list), None);
        assert_eq!(read(&mut terminal).revocations, expected);
    }
    let most = List { number: Some([&[0][..], &[0xFF; 8]].concat()), ..List::new(0, &[]) };
    assert_eq!(outcome(&mut terminal, &most), None);
    assert_eq!(read(&mut terminal).revocations, Some(u64::MAX));
}

#[test]
fn lists_that_are_not_the_authoritys_change_nothing() {
    let mut terminal = paired();
    assert_eq!(outcome(&mut terminal, &List::new(1, &[])), None);
    let commits = terminal.host().commits;
    let all = || List::new(9, &[&serial(1), &serial(2), &serial(3)]);
    let disturbed = |at: usize| {
        let mut list = all().signed();
        let at = if at < 100 { list.len() - 1 - at } else { at };
        list[at] ^= 1;
        command(&mut paired(), PairingCommand::Revoke(list)).err()
    };
    for (list, expected) in [
        (List { by: 2, ..all() }, Failure::NotAuthentic),
        (List { by: CARDS, ..all() }, Failure::NotAuthentic),
        (List { issuer: "somebody", ..all() }, Failure::NotAuthentic),
        (List { number: None, ..all() }, Failure::Malformed),
        (List { number: Some(vec![0x80]), ..all() }, Failure::Malformed),
        (List { number: Some(vec![0x01; 9]), ..all() }, Failure::Malformed),
        (List { number: Some(vec![]), ..all() }, Failure::Malformed),
        (List { extensions: ["300A060355043C0101FF0400", ""], ..all() }, Failure::Malformed),
        (List { extensions: ["300D0603551D1B0101FF0403020101", ""], ..all() }, Failure::Malformed),
        (List { extensions: ["300A0603551D140403020103", ""], ..all() }, Failure::Malformed),
        (List { extensions: ["", "300A060355043C0101FF0400"], ..all() }, Failure::Malformed),
    ] {
        assert_eq!(outcome(&mut terminal, &list), Some(expected), "{}", hex::encode(list.signed()));
    }
    assert_eq!((disturbed(0), disturbed(101)), (Some(Failure::NotAuthentic), Some(Failure::NotAuthentic)));
    for bytes in [vec![], vec![0x30, 0], [all().signed(), vec![0]].concat()] {
        assert_eq!(command(&mut terminal, PairingCommand::Revoke(bytes)).err(), Some(Failure::Malformed));
    }
    assert_eq!((versions(&mut terminal).len(), terminal.host().commits), (3, commits));
}

#[test]
fn extensions_that_may_be_ignored_are() {
    let mut terminal = paired();
    let reason = "300A0603551D1504030A0101";
    let list = List { extensions: ["3007060355043C0400", reason], ..List::new(1, &[&serial(2)]) };
    assert_eq!(outcome(&mut terminal, &list), None);
    assert_eq!(versions(&mut terminal), [0x61, 0x63]);
}

#[test]
fn a_list_holds_as_many_as_the_card_can_keep() {
    let mut terminal = paired();
    let serials: Vec<Vec<u8>> =
        (0..1025u16).map(|at| [&[0x40][..], &at.to_be_bytes(), &[0x11; 13]].concat()).collect();
    let list = |count: usize| List { serials: serials[..count].to_vec(), ..List::new(2, &[]) };
    assert_eq!(outcome(&mut terminal, &list(1025)), Some(Failure::NoMemory));
    assert_eq!(read(&mut terminal).revocations, None);
    let mut most = list(1024);
    most.serials[1000] = serial(3);
    assert_eq!(outcome(&mut terminal, &most), None);
    assert_eq!(versions(&mut terminal), [0x61, 0x62]);
    assert!(terminal.restarted().started().epoch > 0);
}

/// Otherwise whoever has the management key could keep a list out.
#[test]
fn a_full_card_takes_a_list_and_pairs() {
    let mut terminal = paired().restarted();
    terminal.authenticate();
    for length in [12_000, 500, 10] {
        let content = object(0x53, &vec![7; length]);
        let fits = |number: &u8| {
            let data = [&[0x5C, 3, 0x5F, 0xFF, *number][..], &content].concat();
            terminal.status(0xDB, 0x3F, 0xFF, &data) == 0x9000
        };
        assert!((0x10..=0xFF).take_while(fits).count() < 0xF0, "{length}");
    }
    let serials: Vec<Vec<u8>> = (0..1024u16).map(|at| [&[0x40][..], &at.to_be_bytes()].concat()).collect();
    assert_eq!(outcome(&mut terminal, &List { serials, ..List::new(1, &[]) }), None);
    for number in 4..=15 {
        Device::new(number).pair(&mut terminal, 0x60 + number).unwrap();
    }
    assert_eq!(versions(&mut terminal.restarted_at_root()).len(), 15);
}

#[test]
fn a_card_that_knows_no_authority_takes_no_list() {
    let mut terminal = Terminal::new();
    assert_eq!(outcome(&mut terminal, &List::new(1, &[])), Some(Failure::NotAuthentic));
    assert_eq!(read(&mut terminal).revocations, None);
}
