//! PIN and PUK: formats, counters, blocking.

use proptest::prelude::*;

use crate::harness::{PIN, PUK, Terminal};

const WRONG: &[u8] = b"000000\xFF\xFF";

fn two(first: &[u8], second: &[u8]) -> Vec<u8> {
    [first, second].concat()
}

#[test]
fn wrong_pins_block_and_the_puk_unblocks() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.pin_status(), 0x63C3);
    for expected in [0x63C2, 0x63C1, 0x63C0, 0x6983, 0x6983] {
        assert_eq!(terminal.verify(WRONG), expected);
    }
    assert_eq!(terminal.verify(PIN), 0x6983);
    assert_eq!(terminal.pin_status(), 0x6983);
    assert_eq!(terminal.status(0x2C, 0, 0x80, &two(PUK, b"654321\xFF\xFF")), 0x9000);
    assert_eq!(terminal.pin_status(), 0x63C3);
    assert_eq!(terminal.verify(b"654321\xFF\xFF"), 0x9000);
}

#[test]
fn a_right_pin_restores_the_counter() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.verify(WRONG), 0x63C2);
    assert_eq!(terminal.verify(PIN), 0x9000);
    assert_eq!(terminal.pin_status(), 0x9000);
    assert_eq!(terminal.status(0x20, 0xFF, 0x80, &[]), 0x9000);
    assert_eq!(terminal.pin_status(), 0x63C3);
}

#[test]
fn a_wrong_pin_ends_the_verified_status() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.verify(PIN), 0x9000);
    assert_eq!(terminal.verify(WRONG), 0x63C2);
    assert_eq!(terminal.pin_status(), 0x63C2);
}

#[test]
fn a_wrong_puk_counts_and_blocks() {
    let mut terminal = Terminal::new();
    for expected in [0x63C2, 0x63C1, 0x63C0, 0x6983] {
        assert_eq!(terminal.status(0x2C, 0, 0x80, &two(b"00000000", PIN)), expected);
    }
    assert_eq!(terminal.status(0x24, 0, 0x81, &two(PUK, b"87654321")), 0x6983);
}

#[test]
fn clients_block_a_card_with_values_that_are_no_pins() {
    let mut terminal = Terminal::new();
    let none = [0xFF; 8];
    assert_eq!(terminal.verify(&none), 0x63C2);
    assert_eq!(terminal.status(0x2C, 0, 0x80, &two(&none, &none)), 0x63C2);
}

#[test]
fn pin_and_puk_can_be_changed() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.status(0x24, 0, 0x80, &two(PIN, b"abcdefgh")), 0x9000);
    assert_eq!(terminal.verify(PIN), 0x63C2);
    assert_eq!(terminal.verify(b"abcdefgh"), 0x9000);
    assert_eq!(terminal.status(0x24, 0, 0x81, &two(PUK, b"87654321")), 0x9000);
    assert_eq!(terminal.status(0x2C, 0, 0x80, &two(b"87654321", PIN)), 0x9000);
}

#[test]
fn a_new_value_of_bad_format_is_refused_and_the_old_one_stays() {
    let mut terminal = Terminal::new();
    for bad in [*b"12345\xFF\xFF\xFF", *b"12345\xFF67", *b"123\xFF\xFF\xFF\xFF\xFF", [0xFF; 8]] {
        assert_eq!(terminal.status(0x24, 0, 0x80, &two(PIN, &bad)), 0x6A80);
        assert_eq!(terminal.status(0x2C, 0, 0x80, &two(PUK, &bad)), 0x6A80);
    }
    assert_eq!(terminal.pin_status(), 0x63C3);
    assert_eq!(terminal.verify(PIN), 0x9000);
}

#[test]
fn wrong_lengths_and_references_do_not_count() {
    let mut terminal = Terminal::new();
    for length in [1, 6, 7, 9, 16] {
        assert_eq!(terminal.verify(&vec![b'1'; length]), 0x6A80);
    }
    for reference in [0x00, 0x04, 0x81, 0x96, 0x98] {
        assert_eq!(terminal.status(0x20, 0, reference, PIN), 0x6A88);
    }
    assert_eq!(terminal.status(0x20, 1, 0x80, PIN), 0x6A86);
    assert_eq!(terminal.status(0x20, 0xFF, 0x80, PIN), 0x6A86);
    assert_eq!(terminal.pin_status(), 0x63C3);
}

#[test]
fn selection_and_restart_end_the_verified_status_and_keep_the_counter() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.verify(PIN), 0x9000);
    terminal.select();
    assert_eq!(terminal.verify(WRONG), 0x63C2);
    let mut terminal = terminal.restarted();
    assert_eq!(terminal.pin_status(), 0x63C2);
}

#[test]
fn a_blank_card_has_no_pin() {
    let mut terminal = Terminal::blank();
    assert_eq!(terminal.pin_status(), 0x6984);
    assert_eq!(terminal.verify(PIN), 0x6984);
    assert_eq!(terminal.authenticate_with(0x0C, &[0; 32]), 0x6A88);
}

/// What a terminal may try.
#[derive(Clone, Copy, Debug)]
enum Try {
    Right,
    Wrong,
    Restart,
    Unblock,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The counter is a model's: three tries, one gone for each wrong PIN, all back for a right PIN or PUK.
    #[test]
    fn the_counter_follows_its_model(
        tries in prop::collection::vec(prop::sample::select(vec![Try::Right, Try::Wrong, Try::Restart, Try::Unblock]), 1..24)
    ) {
        let (mut terminal, mut remaining) = (Terminal::new(), 3);
        for each in tries {
            match each {
                Try::Right if remaining > 0 => {
                    prop_assert_eq!(terminal.verify(PIN), 0x9000);
                    remaining = 3;
                }
                Try::Right => prop_assert_eq!(terminal.verify(PIN), 0x6983),
                Try::Wrong if remaining > 0 => {
                    remaining -= 1;
                    prop_assert_eq!(terminal.verify(WRONG), 0x63C0 + remaining);
                }
                Try::Wrong => prop_assert_eq!(terminal.verify(WRONG), 0x6983),
                Try::Restart => terminal = terminal.restarted(),
                Try::Unblock => {
                    prop_assert_eq!(terminal.status(0x2C, 0, 0x80, &two(PUK, PIN)), 0x9000);
                    remaining = 3;
                }
            }
        }
    }
}
