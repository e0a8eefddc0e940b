//! What happens when the host does not store a change.

use crate::harness::{Host, PIN, PUK, Terminal};

const WRONG: &[u8] = b"000000\xFF\xFF";

/// Bad format, which is refused after the old value was judged.
const MALFORMED: &[u8] = &[0xFF; 8];

/// A card with two tries left for each of PIN and PUK.
fn tried_once() -> Host {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.verify(WRONG), 0x63C2);
    assert_eq!(terminal.status(0x24, 0, 0x81, &[WRONG, PUK].concat()), 0x63C2);
    terminal.host().clone()
}

/// Each command that presents a PIN or PUK: with this one or that one, and its status word after the right one.
fn tries(pin: &[u8], puk: &[u8]) -> [([u8; 2], Vec<u8>, u16); 7] {
    [
        ([0x20, 0x80], pin.to_vec(), 0x9000),
        ([0x24, 0x80], [pin, b"654321\xFF\xFF"].concat(), 0x9000),
        ([0x24, 0x80], [pin, MALFORMED].concat(), 0x6A80),
        ([0x24, 0x81], [puk, b"87654321"].concat(), 0x9000),
        ([0x24, 0x81], [puk, MALFORMED].concat(), 0x6A80),
        ([0x2C, 0x80], [puk, b"654321\xFF\xFF"].concat(), 0x9000),
        ([0x2C, 0x80], [puk, MALFORMED].concat(), 0x6A80),
    ]
}

/// Remaining tries of PIN and PUK.
fn remaining(terminal: &mut Terminal) -> [u8; 2] {
    [0x80, 0x81].map(|reference| *terminal.ok(0xF7, 0, reference, &[]).last().unwrap())
}

#[test]
fn right_and_wrong_are_one_commit_of_one_length() {
    for stored in [Terminal::new().host().clone(), tried_once()] {
        let offered = |(header, data, expected): ([u8; 2], Vec<u8>, u16)| {
            let mut terminal = Terminal::start(stored.clone(), false);
            terminal.host().offered.clear();
            assert_eq!(terminal.status(header[0], 0, header[1], &data), expected, "{header:02X?}");
            terminal.host().offered.clone()
        };
        let counted = 0x63C0 | u16::from(remaining(&mut Terminal::start(stored.clone(), false))[0] - 1);
        let right = tries(PIN, PUK).map(offered);
        let wrong = tries(WRONG, WRONG).map(|(header, data, _)| offered((header, data, counted)));
        for each in right.iter().chain(&wrong) {
            assert_eq!((each.len(), each), (1, &right[0]));
        }
    }
}

#[test]
fn without_a_durable_outcome_nothing_is_told_and_nothing_counts() {
    for presented in [[PIN, PUK], [WRONG, WRONG]] {
        for ([ins, reference], data, _) in tries(presented[0], presented[1]) {
            let mut terminal = Terminal::start(tried_once(), false);
            terminal.host().willing = 0;
            assert_eq!(terminal.status(ins, 0, reference, &data), 0x6581, "{ins:02X}");
            assert_eq!((terminal.pin_status(), remaining(&mut terminal)), (0x63C2, [2, 2]));
            let mut terminal = terminal.restarted();
            assert_eq!(remaining(&mut terminal), [2, 2]);
            assert_eq!(terminal.status(0x2C, 0, 0x80, &[PUK, PIN].concat()), 0x9000, "the PUK is the same");
        }
    }
}

#[test]
fn a_pin_that_was_verified_is_not_after_a_try_that_is_not_durable() {
    for presented in [PIN, WRONG] {
        let mut terminal = Terminal::new();
        assert_eq!(terminal.verify(PIN), 0x9000);
        terminal.host().willing = 0;
        assert_eq!(terminal.verify(presented), 0x6581);
        assert_eq!(terminal.pin_status(), 0x63C3);
    }
}

/// What is stored when the power goes is the state before the try or the one after it, whether or not the card was
/// still told.
#[test]
fn a_power_cut_leaves_the_state_before_a_try_or_after_it() {
    for (presented, after) in [([PIN, PUK], 3), ([WRONG, WRONG], 1)] {
        for ([ins, reference], data, told) in tries(presented[0], presented[1]) {
            let mut terminal = Terminal::start(tried_once(), false);
            terminal.host().acknowledges = false;
            assert_eq!(terminal.status(ins, 0, reference, &data), 0x6581, "{ins:02X}");
            let mut terminal = terminal.restarted();
            let [pin, puk] = remaining(&mut terminal);
            let is_changed = after == 3 && told == 0x9000;
            match (ins, reference) {
                (0x20, _) | (0x24, 0x80) => assert_eq!([pin, puk], [after, 2]),
                (0x2C, _) if is_changed => assert_eq!([pin, puk], [3, 3]),
                _ => assert_eq!([pin, puk], [2, after]),
            }
            let new_pin = terminal.verify(b"654321\xFF\xFF") == 0x9000;
            assert_eq!(new_pin, is_changed && reference == 0x80 && ins != 0x20);
            let new_puk = terminal.status(0x2C, 0, 0x80, &[b"87654321", PIN].concat()) == 0x9000;
            assert_eq!(new_puk, is_changed && reference == 0x81);
        }
    }
}

#[test]
fn a_blocked_value_is_refused_without_a_commit() {
    let mut terminal = Terminal::new();
    while terminal.verify(WRONG) != 0x6983 {}
    while terminal.status(0x2C, 0, 0x80, &[WRONG, PIN].concat()) != 0x6983 {}
    terminal.host().offered.clear();
    for presented in [[PIN, PUK], [WRONG, WRONG]] {
        for ([ins, reference], data, _) in tries(presented[0], presented[1]) {
            assert_eq!(terminal.status(ins, 0, reference, &data), 0x6983, "{ins:02X}");
        }
    }
    assert!(terminal.host().offered.is_empty());
}

#[test]
fn the_try_is_durable_before_the_answer() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.verify(WRONG), 0x63C2);
    let mut terminal = terminal.restarted();
    assert_eq!(terminal.pin_status(), 0x63C2);
}

#[test]
fn a_change_that_is_not_durable_is_not_made() {
    let mut terminal = Terminal::new();
    terminal.authenticate();
    let first = terminal.generate(0x9E, 0x11);
    terminal.host().willing = 0;
    assert_eq!(terminal.status(0x47, 0, 0x9E, &[0xAC, 3, 0x80, 1, 0x11]), 0x6581);
    assert_eq!(terminal.status(0xDB, 0x3F, 0xFF, &[0x5C, 3, 0x5F, 0xC1, 0x05, 0x53, 1, 1]), 0x6581);
    assert_eq!(terminal.status(0xF6, 0xFF, 0x9E, &[]), 0x6581);
    assert_eq!(terminal.send(0xCB, 0x3F, 0xFF, &[0x5C, 3, 0x5F, 0xC1, 0x05]).1, 0x6A82);
    let metadata = terminal.ok(0xF7, 0, 0x9E, &[]);
    assert!(metadata.ends_with(&first));
    assert!(terminal.use_key(0x11, 0x9E, 0x81, &[7; 32]).is_ok());
}

#[test]
fn signing_writes_nothing() {
    let mut terminal = Terminal::new();
    terminal.authenticate();
    for (reference, algorithm) in [(0x9A, 0x11), (0x9D, 0x14), (0x9E, 0x07)] {
        terminal.generate(reference, algorithm);
    }
    assert_eq!(terminal.verify(PIN), 0x9000);
    let before = terminal.host().commits;
    for _ in 0..3 {
        terminal.use_key(0x11, 0x9A, 0x81, &[7; 32]).unwrap();
        terminal.use_key(0x14, 0x9D, 0x81, &[7; 48]).unwrap();
        terminal.use_key(0x07, 0x9E, 0x81, &[7; 256]).unwrap();
    }
    assert_eq!(terminal.host().commits, before);
}
