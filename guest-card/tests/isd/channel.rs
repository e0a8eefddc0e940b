//! Secure channels: set-up, security levels, what ends them, what they are to PIV.

use cardhost_wire::{
    control::SessionState,
    port::{Port, Protocol},
};

use crate::{
    harness::{PIN, Terminal, hex},
    off_card::{Empty, ISSUER, OffCard, Set, initialize_update, put_key, select, send},
};

const PIV: [u8; 5] = [0xA0, 0, 0, 0x03, 0x08];
const LEVELS: [u8; 6] = [0x00, 0x01, 0x03, 0x11, 0x13, 0x33];
const KEY_INFORMATION: [u8; 4] = [0x80, 0xCA, 0x00, 0xE0];
const STATUS: [u8; 4] = [0x80, 0xF2, 0x40, 0x02];
const ALL: &[u8] = &[0x4F, 0x00];

fn issuer() -> Terminal {
    let mut terminal = Terminal::new();
    assert_eq!(select(&mut terminal, &ISSUER), 0x9000);
    terminal
}

#[test]
fn every_level_works_with_every_key_length_and_mode_and_form_of_command() {
    for (kvn, length) in [(1, 16), (2, 24), (3, 32), (0x50, 16), (0x51, 24), (0x52, 32), (0x60, 16)] {
        let mut terminal = issuer();
        let mut off_card = OffCard::issuer(&mut terminal);
        let set = Set::made_up(kvn, length);
        let (data, answer) = put_key(&off_card, &set);
        assert_eq!(off_card.ok(&mut terminal, [0x80, 0xD8, 0, 0x81], &data), answer);
        for level in LEVELS {
            for (empty, extended) in [(Empty::Padded, true), (Empty::Plain, true), (Empty::Padded, false)] {
                let mut off_card = OffCard::open(&mut terminal, &set, level).unwrap();
                (off_card.empty, off_card.extended) = (empty, extended);
                for _ in 0..3 {
                    let information = off_card.ok(&mut terminal, KEY_INFORMATION, &[]);
                    assert!(information.starts_with(&[0xE0]), "{kvn:02X} {level:02X}");
                    assert!(off_card.ok(&mut terminal, STATUS, ALL).starts_with(&[0xE3]));
                }
            }
        }
    }
}

#[test]
fn levels_that_are_none_are_refused() {
    let mut terminal = issuer();
    for level in (0..=0xFF).filter(|level| !LEVELS.contains(level)) {
        let initiated = initialize_update(&mut terminal, &Set::well_known(), 0).unwrap();
        assert_eq!(initiated.authenticate(&mut terminal, level).err(), Some(0x6A86), "{level:02X}");
        assert_eq!(terminal.session_state(), SessionState::None);
    }
}

#[test]
fn a_wrong_cryptogram_or_mac_is_told_alike_and_ends_the_attempt() {
    let mut terminal = issuer();
    let mut initiated = initialize_update(&mut terminal, &Set::well_known(), 0).unwrap();
    initiated.cryptogram[0] ^= 1;
    assert_eq!(initiated.authenticate(&mut terminal, 0x33).err(), Some(0x6300));
    let cryptogram = initialize_update(&mut terminal, &Set::well_known(), 0).unwrap().cryptogram;
    let wrong_mac = [&cryptogram[..], &[0; 8]].concat();
    assert_eq!(send(&mut terminal, [0x84, 0x82, 0x33, 0], &wrong_mac).1, 0x6300);
    assert_eq!(send(&mut terminal, [0x84, 0x82, 0x33, 0], &wrong_mac).1, 0x6982);
    assert_eq!(send(&mut terminal, [0x84, 0xCA, 0, 0xE0], &[0; 8]).1, 0x6982);
}

#[test]
fn initialize_update_checks_what_it_is_given() {
    let mut terminal = issuer();
    for (header, length, expected) in [
        ([0x80, 0x50, 0x30, 0], 7, 0x6700),
        ([0x80, 0x50, 0x30, 0], 16, 0x6700),
        ([0x80, 0x50, 0x31, 0], 8, 0x6A88),
        ([0x80, 0x50, 0x30, 1], 8, 0x6A86),
        ([0x00, 0x50, 0x30, 0], 8, 0x6D00),
        ([0x80, 0x50, 0x00, 0], 8, 0x9000),
    ] {
        assert_eq!(send(&mut terminal, header, &vec![1; length]).1, expected, "{header:02X?} {length}");
    }
}

/// Amendment D, 6.2.2.1: a challenge never comes again, whatever comes between.
#[test]
fn the_sequence_counter_goes_on_through_power_cuts_and_random_challenges_write_nothing() {
    let mut terminal = issuer();
    let mut off_card = OffCard::issuer(&mut terminal);
    let random = Set::made_up(0x60, 16);
    let data = put_key(&off_card, &random).0;
    off_card.ok(&mut terminal, [0x80, 0xD8, 0, 0x81], &data);
    let mut counters = Vec::new();
    for _ in 0..3 {
        let initiated = initialize_update(&mut terminal, &Set::well_known(), 0).unwrap();
        assert_eq!(initiated.answer.len(), 32);
        counters.push(initiated.answer[29..].to_vec());
        terminal = terminal.restarted();
        select(&mut terminal, &ISSUER);
    }
    assert_eq!(counters, [[0, 0, 2], [0, 0, 3], [0, 0, 4]]);
    assert_eq!(send(&mut terminal, [0x80, 0xCA, 0, 0xC1], &[]).0, hex("C103000004"));
    let commits = terminal.host().commits;
    let first = initialize_update(&mut terminal, &random, 0).unwrap();
    let second = initialize_update(&mut terminal, &random, 0).unwrap();
    assert_eq!((first.answer.len(), terminal.host().commits), (29, commits));
    assert_ne!(first.answer[13..21], second.answer[13..21]);
    second.authenticate(&mut terminal, 0x33).unwrap();
    assert_eq!(terminal.host().commits, commits);
}

#[test]
fn a_bad_message_ends_the_channel() {
    let mut terminal = issuer();
    let mut off_card = OffCard::issuer(&mut terminal);
    let mut command = off_card.wrap(STATUS, ALL);
    let at = command.len() - 4;
    command[at] ^= 0x10;
    assert_eq!(terminal.transmit(&command), hex("6988"));
    assert_eq!(off_card.status(&mut terminal, STATUS, ALL), 0x6982);
}

#[test]
fn a_message_that_is_repeated_or_too_short_ends_the_channel() {
    let mut terminal = issuer();
    let mut off_card = OffCard::issuer(&mut terminal);
    let command = off_card.wrap(STATUS, ALL);
    assert!(terminal.transmit(&command).ends_with(&[0x90, 0x00]));
    assert_eq!(terminal.transmit(&command), hex("6988"));
    OffCard::issuer(&mut terminal);
    assert_eq!(send(&mut terminal, [0x84, 0xF2, 0x40, 2], &[0; 7]).1, 0x6988);
}

#[test]
fn a_command_in_plain_ends_a_channel_that_protects_messages() {
    for level in LEVELS {
        let mut terminal = issuer();
        let mut off_card = OffCard::open(&mut terminal, &Set::well_known(), level).unwrap();
        let expected = if level == 0 { 0x9000 } else { 0x6982 };
        assert_eq!(send(&mut terminal, STATUS, ALL).1, expected, "{level:02X}");
        assert_eq!(off_card.status(&mut terminal, STATUS, ALL), expected, "{level:02X}");
    }
}

#[test]
fn select_and_reset_end_the_channel_and_a_failed_select_does_not() {
    let mut terminal = issuer();
    let mut off_card = OffCard::issuer(&mut terminal);
    assert_eq!(select(&mut terminal, &[0xA0, 0, 0, 9, 9]), 0x6A82);
    assert_eq!(off_card.status(&mut terminal, STATUS, ALL), 0x9000);
    assert_eq!(select(&mut terminal, &ISSUER), 0x9000);
    assert_eq!(off_card.status(&mut terminal, STATUS, ALL), 0x6982);
    let mut off_card = OffCard::issuer(&mut terminal);
    terminal.card().reset(Port::Apdu(Protocol::ApduGate));
    assert_eq!(off_card.status(&mut terminal, STATUS, ALL), 0x6982);
}

#[test]
fn each_logical_channel_has_a_channel_of_its_own() {
    let mut terminal = issuer();
    assert_eq!(terminal.transmit(&hex("0070000001")), hex("019000"));
    let mut basic = OffCard::issuer(&mut terminal);
    let mut other = initialize_update(&mut terminal, &Set::well_known(), 1).unwrap();
    other.off_card.empty = Empty::Plain;
    let mut other = other.authenticate(&mut terminal, 0x13).unwrap();
    for _ in 0..2 {
        assert_eq!(basic.status(&mut terminal, STATUS, ALL), 0x9000);
        assert_eq!(other.status(&mut terminal, STATUS, ALL), 0x9000);
    }
    let stray = other.wrap(STATUS, ALL);
    assert_eq!(terminal.transmit(&[&[0x84], &stray[1..]].concat()), hex("6988"));
    assert_eq!(basic.status(&mut terminal, STATUS, ALL), 0x6982);
    assert!(terminal.transmit(&stray).ends_with(&hex("9000")), "the other one goes on");
}

#[test]
fn an_open_channel_is_held_and_so_is_one_that_waits_for_external_authenticate() {
    let mut terminal = issuer();
    assert_eq!(terminal.session_state(), SessionState::None);
    let initiated = initialize_update(&mut terminal, &Set::well_known(), 0).unwrap();
    assert_eq!(terminal.session_state(), SessionState::Held);
    initiated.authenticate(&mut terminal, 0x01).unwrap();
    assert_eq!(terminal.session_state(), SessionState::Held);
    assert_eq!(select(&mut terminal, &ISSUER), 0x9000);
    assert_eq!(terminal.session_state(), SessionState::None);
}

#[test]
fn piv_works_through_a_channel_with_the_issuers_keys() {
    let mut terminal = Terminal::new();
    terminal.authenticate();
    let public = terminal.generate(0x9A, 0x11);
    assert_eq!(select(&mut terminal, &PIV), 0x9000);
    let mut off_card = OffCard::open(&mut terminal, &Set::well_known(), 0x33).unwrap();
    assert_eq!(off_card.send(&mut terminal, [0, 0x20, 0, 0x80], b"000000\xFF\xFF"), (vec![], 0x63C2));
    assert_eq!(off_card.status(&mut terminal, [0, 0x20, 0, 0x80], PIN), 0x9000);
    assert!(off_card.ok(&mut terminal, [0, 0xF7, 0, 0x9A], &[]).ends_with(&public));
    assert_eq!(off_card.send(&mut terminal, [0, 0xCB, 0x3F, 0xFF], &[0x5C, 0]), (vec![], 0x6A80));
    assert_eq!(off_card.status(&mut terminal, [0, 0x20, 0, 0x80], &[]), 0x9000);
}

/// Otherwise whoever sits between terminal and card would use a PIN that he never saw.
#[test]
fn what_was_proved_through_a_channel_ends_with_it() {
    let in_plain: fn(&mut Terminal) = |terminal| assert_eq!(terminal.pin_status(), 0x6982);
    let forged: fn(&mut Terminal) = |terminal| {
        assert_eq!(send(terminal, [0x04, 0x20, 0, 0x80], &[0; 8]).1, 0x6988);
    };
    let selected_again: fn(&mut Terminal) = |terminal| assert_eq!(select(terminal, &PIV), 0x9000);
    let begun_anew: fn(&mut Terminal) = |terminal| {
        drop(initialize_update(terminal, &Set::well_known(), 0).unwrap());
    };
    for end in [in_plain, forged, selected_again, begun_anew] {
        let mut terminal = Terminal::new();
        let mut off_card = OffCard::open(&mut terminal, &Set::well_known(), 0x33).unwrap();
        assert_eq!(off_card.status(&mut terminal, [0, 0x20, 0, 0x80], PIN), 0x9000);
        assert_eq!(off_card.status(&mut terminal, [0, 0x20, 0, 0x80], &[]), 0x9000);
        end(&mut terminal);
        assert_eq!(terminal.pin_status(), 0x63C3);
    }
}

#[test]
fn a_pin_proved_in_plain_outlives_a_message_that_only_looks_protected() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.verify(PIN), 0x9000);
    assert_eq!(send(&mut terminal, [0x04, 0x20, 0, 0x80], &[0; 8]).1, 0x6982);
    assert_eq!(terminal.pin_status(), 0x9000);
}

#[test]
fn a_long_command_may_come_as_a_chain_and_a_long_response_in_pieces() {
    let mut terminal = Terminal::new();
    terminal.authenticate();
    assert_eq!(select(&mut terminal, &PIV), 0x9000);
    let mut off_card = OffCard::open(&mut terminal, &Set::well_known(), 0x33).unwrap();
    off_card.extended = false;
    let object = [&hex("5C035FC10553820190")[..], &[7; 400]].concat();
    let whole = off_card.wrap([0, 0xDB, 0x3F, 0xFF], &object);
    let (header, data) = (&whole[..4], &whole[7..whole.len() - 2]);
    let mut pieces = data.chunks(200).peekable();
    while let Some(piece) = pieces.next() {
        let cla = if pieces.peek().is_some() { 0x14 } else { 0x04 };
        let command = [&[cla], &header[1..], &[piece.len() as u8], piece].concat();
        assert_eq!(terminal.transmit(&command).len(), if cla == 0x14 { 2 } else { 10 });
    }
    let mut answer = terminal.transmit(&off_card.wrap([0, 0xCB, 0x3F, 0xFF], &hex("5C035FC105")));
    let mut data = Vec::new();
    while answer[answer.len() - 2] == 0x61 {
        data.extend(&answer[..answer.len() - 2]);
        answer = terminal.transmit(&hex("00C0000000"));
    }
    data.extend(answer);
    let response = cardhost_wire::apdu::ResponseApdu::parse(&data).unwrap();
    assert_eq!(off_card.unwrap(&response), (object[5..].to_vec(), 0x9000));
}
