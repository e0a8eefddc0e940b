//! Logical channels and the class byte.

use cardhost_wire::port::{Port, Protocol};

use crate::harness::{Terminal, hex};

/// Whether the answer to each command is the one beside it.
fn play(terminal: &mut Terminal, script: &[(&str, &str)]) {
    for (command, expected) in script {
        let answer = hex::encode_upper(terminal.transmit(&hex(command)));
        assert_eq!(&answer, expected, "{command}");
    }
}

const SELECT_PIV_ON_1: &str = "01A4040C05A000000308";

#[test]
fn the_card_gives_out_three_channels_and_takes_them_back() {
    play(
        &mut Terminal::new(),
        &[
            ("0070000001", "019000"),
            ("0070000001", "029000"),
            ("00700000", "039000"),
            ("0070000001", "6A81"),
            ("00708002", "9000"),
            ("00708002", "6200"),
            ("0270000001", "6881"),
            ("0070000001", "029000"),
        ],
    );
}

#[test]
fn the_terminal_may_name_a_channel() {
    play(
        &mut Terminal::new(),
        &[
            ("00700002", "9000"),
            ("00700002", "6985"),
            ("0070000001", "019000"),
            ("00700004", "6A86"),
            ("00708000", "6A86"),
            ("00704001", "6A86"),
        ],
    );
}

#[test]
fn each_channel_has_its_own_application_and_security_status() {
    play(
        &mut Terminal::new(),
        &[
            ("0070000001", "019000"),
            ("01200080", "6D00"),
            (SELECT_PIV_ON_1, "9000"),
            ("0020008008313233343536FFFF", "9000"),
            ("00200080", "9000"),
            ("01200080", "63C3"),
            ("00A4040C", "9000"),
            ("00200080", "6D00"),
            ("01200080", "63C3"),
        ],
    );
}

#[test]
fn a_channel_opened_from_another_begins_with_the_same_application_unauthenticated() {
    play(
        &mut Terminal::new(),
        &[
            ("0070000001", "019000"),
            (SELECT_PIV_ON_1, "9000"),
            ("0120008008313233343536FFFF", "9000"),
            ("0170000001", "029000"),
            ("02200080", "63C3"),
            ("01200080", "9000"),
            ("0070000001", "039000"),
            ("03200080", "6D00"),
        ],
    );
}

#[test]
fn a_closed_channel_forgets() {
    play(
        &mut Terminal::new(),
        &[
            ("0070000001", "019000"),
            (SELECT_PIV_ON_1, "9000"),
            ("0120008008313233343536FFFF", "9000"),
            ("00708001", "9000"),
            ("01200080", "6881"),
            ("0070000001", "019000"),
            (SELECT_PIV_ON_1, "9000"),
            ("01200080", "63C3"),
        ],
    );
}

#[test]
fn classes_that_the_card_does_not_know() {
    play(
        &mut Terminal::new(),
        &[
            ("01200080", "6881"),
            ("40200080", "6881"),
            ("C0200080", "6881"),
            ("04200080", "6982"),
            ("08200080", "6882"),
            ("8C200080", "6882"),
            ("20200080", "6E00"),
            ("A0A40000023F00", "6E00"),
            ("FF200080", "6E00"),
        ],
    );
}

#[test]
fn protocols_and_resets_share_no_channels() {
    let mut terminal = Terminal::new();
    play(&mut terminal, &[("0070000001", "019000")]);
    let mut on =
        |protocol, command: &str| terminal.card().transmit(Port::Apdu(protocol), &hex(command)).unwrap();
    assert_eq!(on(Protocol::Spi, "01200080"), [0x68, 0x81]);
    assert_eq!(on(Protocol::Spi, "0070000001"), [0x01, 0x90, 0x00]);
    terminal.card().reset(Port::Apdu(Protocol::ApduGate));
    play(&mut terminal, &[("01200080", "6881")]);
    let on_spi = terminal.card().transmit(Port::Apdu(Protocol::Spi), &hex("01200080")).unwrap();
    assert_eq!(on_spi, [0x6D, 0x00]);
}
