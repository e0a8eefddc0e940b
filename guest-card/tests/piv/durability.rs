//! What happens when the host does not store a change.

use crate::harness::{PIN, PUK, Terminal};

const WRONG: &[u8] = b"000000\xFF\xFF";

#[test]
fn without_a_durable_counter_no_pin_is_compared() {
    let mut terminal = Terminal::new();
    terminal.host().willing = 0;
    // Right and wrong are not told apart, and neither counts.
    assert_eq!(terminal.verify(PIN), 0x6581);
    assert_eq!(terminal.verify(WRONG), 0x6581);
    assert_eq!(terminal.status(0x24, 0, 0x80, &[PIN, PIN].concat()), 0x6581);
    assert_eq!(terminal.status(0x2C, 0, 0x80, &[PUK, PIN].concat()), 0x6581);
    assert_eq!(terminal.pin_status(), 0x63C3);
}

#[test]
fn a_right_pin_whose_full_counter_is_not_durable_verifies_nothing() {
    let mut terminal = Terminal::new();
    terminal.host().willing = 1;
    assert_eq!(terminal.verify(PIN), 0x6581);
    assert_eq!(terminal.pin_status(), 0x63C2);
    let mut terminal = terminal.restarted();
    assert_eq!(terminal.pin_status(), 0x63C2);
}

#[test]
fn the_try_is_durable_before_the_answer() {
    let mut terminal = Terminal::new();
    let before = terminal.host().commits;
    assert_eq!(terminal.verify(WRONG), 0x63C2);
    assert_eq!(terminal.host().commits, before + 1);
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
