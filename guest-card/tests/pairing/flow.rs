//! The whole flow as it should go: set-up, authentication, and applications through the session.

use cardhost_wire::{
    apdu::CommandApdu,
    pairing::{Pairing, PairingPolicy, Pairings},
    port::Protocol,
    tlv::object,
};

use crate::{
    authority::{certified, read},
    device::{Device, authenticate, select, serial},
    harness::{PIN, Terminal, hex, play},
    off_card::{ISSUER, OffCard, Set},
};

const SELECT_PIV: &str = "00A4040005A00000030800";

/// A card with the first terminal's session open.
fn paired() -> (Terminal, crate::device::Session) {
    let mut terminal = certified();
    let session = Device::new(1).paired(&mut terminal, 0x60);
    (terminal, session)
}

#[test]
fn a_terminal_pairs_and_authenticates_on_every_protocol() {
    for (number, protocol) in (1..).zip(Protocol::ALL) {
        let mut terminal = certified();
        terminal.protocol = protocol;
        let mut session = Device::new(number).paired(&mut terminal, 0x60 + number);
        let answer = session.send(&mut terminal, &hex(SELECT_PIV)).unwrap();
        assert!(answer.ends_with(&hex("9000")) && answer.len() > 20, "{protocol}");
        assert_eq!(session.status(&mut terminal, &hex("00A4040005A000000999")), 0x6A82, "{protocol}");
        assert_eq!(session.verify(&mut terminal, PIN), 0x9000, "{protocol}");
    }
}

#[test]
fn the_domain_tells_who_the_card_is() {
    let mut terminal = certified();
    let expected = "6F1A840AF063617264686F737401A50CCF0A02020202020202020202";
    assert_eq!(select(&mut terminal), (hex(expected), 0x9000));
    let answer = terminal.transmit(&hex("80CABF2106A6048302110100"));
    assert!(answer.starts_with(&hex("BF2182")) || answer.starts_with(&hex("BF2181")));
    assert!(answer.ends_with(&hex("9000")) || answer[answer.len() - 2] == 0x61);
}

#[test]
fn what_was_paired_is_told_to_the_host_and_survives_a_restart() {
    let mut terminal = certified();
    let first = Device::new(1).pair(&mut terminal, 0x61).unwrap();
    let second = Device::new(2).pair(&mut terminal, 0x60).unwrap();
    let mut terminal = terminal.restarted();
    let pairing = |kvn: u8, number: u8| Pairing {
        kvn,
        terminal: format!("terminal-{number}"),
        serial: serial(number)[1..].to_vec(),
    };
    let pairings = vec![pairing(0x60, 2), pairing(0x61, 1)];
    let (policy, revocations) = (PairingPolicy::Open, None);
    assert_eq!(read(&mut terminal), Pairings { certified: true, policy, revocations, pairings });
    for set in [first, second] {
        let mut session = authenticate(&mut terminal, &set).unwrap();
        assert_eq!(session.verify(&mut terminal, PIN), 0x6D00, "the issuer's domain is selected");
    }
}

/// SP 800-73-5's commands, secured messages and all: what a script sees in plain it sees through the session.
#[test]
fn a_script_runs_through_the_session_as_in_plain() {
    let script = "
        > 00A404000BA000000308000010000100
        < 61..9000
        > 0020008008FFFFFFFFFFFFFFFF
        < 63C2
        > 0020008008313233343536FFFF
        < 9000
        > 00CB3FFF055C035FC10200
        < 53..9000
        > 00CB3FFF055C035FC10203
        < 533B30613A
        > 00C000000A
        < ..6130
        > 00C0000000
        < ..9000
        > 10DB3FFF055C035FC109
        < 9000
        > 00DB3FFF0453020101
        < 6982
        > 0070000001
        < 019000
        > 01A4040005A000000308
        < ..9000
        > 01200080
        < 63C3
        > 00708001
        < 9000
        > 00200080
        < 9000
        > 00A4040009F063617264686F7374
        < 6A82
        > 00200080
        < 9000
        > 00FC000000
        < 6D00
        > 0C20008008
        < 6882
        > 00A40400050102
        < 6700
        > 00
        < 6700";
    let mut plain = Terminal::new();
    plain.card().reset(cardhost_wire::port::Port::Apdu(Protocol::ApduGate));
    play(&mut plain, script);
    let (mut terminal, session) = paired();
    session.carry(&mut terminal);
    play(&mut terminal, script);
}

#[test]
fn the_domain_is_not_within_a_session() {
    let (mut terminal, session) = paired();
    session.carry(&mut terminal);
    assert_eq!(select(&mut terminal).1, 0x6A82);
    assert_eq!(terminal.transmit(&hex("80CABF2106A6048302110100")), hex("6A88"), "the issuer's answer");
    assert_eq!(terminal.transmit(&hex("8050600008010203040506070800")), hex("6A88"));
}

#[test]
fn keys_are_made_and_used_through_the_session() {
    let (mut terminal, session) = paired();
    session.carry(&mut terminal);
    terminal.select();
    terminal.authenticate();
    terminal.generate(0x9A, 0x11);
    assert_eq!(terminal.verify(PIN), 0x9000);
    assert!(terminal.use_key(0x11, 0x9A, 0x81, &[7; 32]).is_ok());
}

#[test]
fn an_ordinary_secure_channel_opens_within_the_session() {
    let (mut terminal, session) = paired();
    session.carry(&mut terminal);
    let mut issuer = OffCard::issuer(&mut terminal);
    let status = issuer.ok(&mut terminal, [0x80, 0xF2, 0x40, 0x02], &[0x4F, 0x00]);
    assert!(status.starts_with(&[0xE3]));
    let put = crate::off_card::put_key(&issuer, &Set::made_up(0x01, 32)).0;
    assert_eq!(issuer.status(&mut terminal, [0x80, 0xD8, 0, 0x81], &put), 0x9000);
    assert_eq!(crate::off_card::select(&mut terminal, &ISSUER), 0x9000);
    OffCard::open(&mut terminal, &Set::made_up(0x01, 32), 0x33).unwrap();
}

/// Amendment D, 6.2.4: the padding takes 1 to 16 bytes.
#[test]
fn commands_and_responses_of_every_length_fit() {
    let (mut terminal, session) = paired();
    session.carry(&mut terminal);
    terminal.select();
    terminal.authenticate();
    assert_eq!(terminal.verify(PIN), 0x9000);
    for length in (0..40).chain([240, 255, 256, 1000, 12_000]) {
        let content = vec![7; length];
        let data = [&hex("5C035FC109")[..], &object(0x53, &content)].concat();
        let put =
            CommandApdu { cla: 0, ins: 0xDB, p1: 0x3F, p2: 0xFF, data: &data, le: None, extended: true };
        assert_eq!(terminal.transmit(&put.to_bytes()), hex("9000"), "{length}");
        let expected = if length == 0 { (vec![], 0x6A82) } else { (object(0x53, &content), 0x9000) };
        assert_eq!(terminal.send(0xCB, 0x3F, 0xFF, &hex("5C035FC109")), expected, "{length}");
    }
}

/// Le of the ENVELOPE is not in its MAC: whoever changes it gains nothing.
#[test]
fn the_answer_comes_in_one_piece_whatever_le_says() {
    let (mut terminal, mut session) = paired();
    for le in [&hex("0000")[..], &hex("0001"), &[]] {
        let wrapped = session.wrap(&hex(SELECT_PIV));
        let shortened = [&wrapped[..wrapped.len() - 2], le].concat();
        let response = session.unwrap(&terminal.transmit(&shortened)).unwrap();
        assert!(response.ends_with(&hex("9000")));
    }
}

#[test]
fn authentication_and_what_only_reads_write_nothing() {
    let mut terminal = certified();
    let set = Device::new(1).pair(&mut terminal, 0x6F).unwrap();
    let commits = terminal.host().commits;
    for _ in 0..3 {
        let mut session = authenticate(&mut terminal, &set).unwrap();
        assert_eq!(session.status(&mut terminal, &hex(SELECT_PIV)), 0x9000);
    }
    assert!(Device::new(2).set_up(&mut terminal).is_ok());
    read(&mut terminal);
    assert_eq!(terminal.host().commits, commits);
}

#[test]
fn a_card_and_its_terminal_are_told_apart_by_fresh_challenges() {
    let mut terminal = certified();
    let set = Device::new(1).pair(&mut terminal, 0x60).unwrap();
    let challenges = [(); 2].map(|()| {
        select(&mut terminal);
        crate::off_card::initialize_update(&mut terminal, &set, 0).unwrap().answer[13..21].to_vec()
    });
    assert_ne!(challenges[0], challenges[1]);
}
