//! Command chaining, GET RESPONSE and Le.

use cardhost_wire::{
    apdu::{CommandApdu, ResponseApdu},
    status::Status,
    tlv::object,
};
use proptest::prelude::*;

use crate::harness::{Terminal, hex};

/// `5C` with an object that takes any content.
const OBJECT: [u8; 5] = [0x5C, 3, 0x5F, 0xFF, 0x10];
const MAX_DATA: usize = 16 * 1024;

fn send(terminal: &mut Terminal, cla: u8, ins: u8, p1_p2: u16, data: &[u8], le: Option<u32>) -> ResponseApdu {
    let [p1, p2] = p1_p2.to_be_bytes();
    let command = CommandApdu { cla, ins, p1, p2, data, le, extended: false };
    ResponseApdu::parse(&terminal.transmit(&command.to_bytes())).unwrap()
}

fn put(terminal: &mut Terminal, cla: u8, data: &[u8]) -> Status {
    send(terminal, cla, 0xDB, 0x3FFF, data, None).status
}

fn managed() -> Terminal {
    let mut terminal = Terminal::new();
    terminal.authenticate();
    terminal
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| at as u8).collect()
}

/// Reads the object in pieces of these sizes, the last one for the rest.
fn read(terminal: &mut Terminal, mut sizes: impl Iterator<Item = u32>) -> Vec<u8> {
    let mut answer = send(terminal, 0, 0xCB, 0x3FFF, &OBJECT, sizes.next());
    let mut data = answer.data;
    while answer.status.0 >> 8 == 0x61 {
        answer = send(terminal, 0, 0xC0, 0, &[], sizes.next());
        data.extend(answer.data);
    }
    assert_eq!(answer.status, Status::SUCCESS);
    data
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn an_object_is_the_same_however_it_is_cut(
        length in 0usize..3000,
        cuts in prop::collection::vec(1usize..=255, 1..8),
        sizes in prop::collection::vec(1u32..=256, 1..8),
    ) {
        let mut terminal = managed();
        let object = object(0x53, &content(length + 1));
        let command = [&OBJECT[..], &object].concat();
        let (mut rest, mut cuts) = (&command[..], cuts.into_iter().cycle());
        while rest.len() > 255 {
            let (piece, after) = rest.split_at(cuts.next().unwrap());
            prop_assert_eq!(put(&mut terminal, 0x10, piece), Status::SUCCESS);
            rest = after;
        }
        prop_assert_eq!(put(&mut terminal, 0x00, rest), Status::SUCCESS);
        prop_assert_eq!(read(&mut terminal, sizes.into_iter().cycle()), object.clone());
        let whole = send(&mut terminal, 0, 0xCB, 0x3FFF, &OBJECT, Some(65_536));
        prop_assert!(whole.data == object && whole.status == Status::SUCCESS);
    }
}

#[test]
fn another_command_abandons_the_chain() {
    let mut terminal = managed();
    let command = [&OBJECT[..], &object(0x53, b"whole")].concat();
    let (first, last) = command.split_at(6);
    assert_eq!(put(&mut terminal, 0x10, first), Status::SUCCESS);
    assert_eq!(terminal.pin_status(), 0x63C3);
    assert_eq!(put(&mut terminal, 0x00, last), Status::WRONG_DATA);
    assert_eq!(put(&mut terminal, 0x10, first), Status::SUCCESS);
    assert_eq!(put(&mut terminal, 0x00, last), Status::SUCCESS);
}

#[test]
fn a_chain_belongs_to_its_channel() {
    let mut terminal = managed();
    assert_eq!(terminal.transmit(&hex("0070000001")), [1, 0x90, 0x00]);
    assert_eq!(terminal.transmit(&hex("01A4040C05A000000308")), [0x90, 0x00]);
    let command = [&OBJECT[..], &object(0x53, b"whole")].concat();
    let (first, last) = command.split_at(6);
    assert_eq!(put(&mut terminal, 0x10, first), Status::SUCCESS);
    assert_eq!(put(&mut terminal, 0x01, last), Status::WRONG_DATA);
    assert_eq!(put(&mut terminal, 0x00, last), Status::WRONG_DATA);
}

#[test]
fn a_chain_that_is_too_long_is_abandoned() {
    let mut terminal = managed();
    for _ in 0..MAX_DATA / 128 {
        assert_eq!(put(&mut terminal, 0x10, &[0; 128]), Status::SUCCESS);
    }
    assert_eq!(put(&mut terminal, 0x10, &[0]), Status::NOT_ENOUGH_MEMORY);
    let command = [&OBJECT[..], &object(0x53, b"whole")].concat();
    assert_eq!(put(&mut terminal, 0x00, &command), Status::SUCCESS);
    assert_eq!(put(&mut terminal, 0x00, &vec![0; MAX_DATA + 1]), Status::NOT_ENOUGH_MEMORY);
    assert_eq!(put(&mut terminal, 0x00, &[0; 65_535]), Status::NOT_ENOUGH_MEMORY);
}

#[test]
fn what_waits_is_gone_after_another_command_and_on_another_channel() {
    let mut terminal = managed();
    assert_eq!(terminal.transmit(&hex("0070000001")), [1, 0x90, 0x00]);
    let command = [&OBJECT[..], &object(0x53, &content(100))].concat();
    assert_eq!(put(&mut terminal, 0x00, &command), Status::SUCCESS);
    let piece = send(&mut terminal, 0, 0xCB, 0x3FFF, &OBJECT, Some(2));
    assert_eq!(piece.status, Status(0x6164));
    assert_eq!(send(&mut terminal, 1, 0xC0, 0, &[], Some(256)).status, Status::CONDITIONS_NOT_SATISFIED);
    assert_eq!(send(&mut terminal, 0, 0xC0, 1, &[], Some(256)).status, Status::INCORRECT_P1_P2);
    assert_eq!(send(&mut terminal, 0, 0xC0, 0, &[], Some(10)).status, Status(0x615A));
    assert_eq!(terminal.pin_status(), 0x63C3);
    assert_eq!(send(&mut terminal, 0, 0xC0, 0, &[], Some(256)).status, Status::CONDITIONS_NOT_SATISFIED);
}

#[test]
fn a_full_card_says_so_and_goes_on() {
    let mut terminal = managed();
    let name = |number| [0x5C, 3, 0x5F, 0xC1, number];
    let large = object(0x53, &content(12 * 1024));
    let statuses: Vec<u16> = (0x30..=0x80)
        .map(|number| terminal.status(0xDB, 0x3F, 0xFF, &[&name(number)[..], &large].concat()))
        .collect();
    let stored = statuses.iter().take_while(|status| **status == 0x9000).count();
    assert!((16..22).contains(&stored), "{stored}");
    assert!(statuses[stored..].iter().all(|status| *status == 0x6A84));
    // What takes no more room still goes, and so does what comes after making some.
    assert_eq!(terminal.status(0xDB, 0x3F, 0xFF, &[&name(0x30)[..], &large].concat()), 0x9000);
    assert_eq!(terminal.status(0xDB, 0x3F, 0xFF, &[&name(0x30)[..], &[0x53, 0]].concat()), 0x9000);
    assert_eq!(terminal.status(0xDB, 0x3F, 0xFF, &[&name(0x80)[..], &large].concat()), 0x9000);
    let mut terminal = terminal.restarted();
    let read = terminal.ok(0xCB, 0x3F, 0xFF, &name(0x31));
    assert_eq!(read, large);
}
