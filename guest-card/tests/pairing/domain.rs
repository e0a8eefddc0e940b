//! The pairing security domain in plain: what it answers, and what it is to the applications beside it.

use cardhost_wire::port::{Port, Protocol};

use crate::{
    authority::certified,
    device::{Device, authenticate, select},
    harness::{PIN, Terminal, hex},
    off_card::{Set, initialize_update, send},
};

const SELECT: &str = "00A404000AF063617264686F737401";

fn selected() -> Terminal {
    let mut terminal = certified();
    assert_eq!(select(&mut terminal).1, 0x9000);
    terminal
}

#[test]
fn what_it_does_not_know_is_refused() {
    let mut terminal = selected();
    for (command, expected) in [
        ("8050600008010203040506070800", "6A88"),
        ("8050000008010203040506070800", "6A88"),
        ("80505F0008010203040506070800", "6A88"),
        ("8050700008010203040506070800", "6A88"),
        ("8050600108010203040506070800", "6A86"),
        ("0050600008010203040506070800", "6D00"),
        ("80CA006600", "6A88"),
        ("80CABF2100", "6A80"),
        ("80CABF2106A6048302100100", "6A88"),
        ("80CABF2105A60383011100", "6A88"),
        ("80CABF2107A604830211010000", "6A80"),
        ("802A011100", "6A88"),
        ("802A019000", "6A88"),
        ("802A021000", "6A88"),
        ("8082021100", "6A88"),
        ("8082011300", "6A88"),
        ("8088011300", "6D00"),
        ("8482330010000102030405060708090A0B0C0D0E0F", "6985"),
        ("8482010010000102030405060708090A0B0C0D0E0F", "6A86"),
        ("84C2000000000A00010203040506070809", "6982"),
        ("84C2000008010203040506070800", "6D00"),
        ("80D8008100", "6D00"),
        ("0020008008313233343536FFFF", "6D00"),
        ("0070000001", "6D00"),
        ("00C0000000", "6985"),
        ("00", "6700"),
    ] {
        assert_eq!(terminal.transmit(&hex(command)), hex(expected), "{command}");
    }
}

#[test]
fn it_is_selected_by_its_whole_identifier_on_the_basic_channel_only() {
    let mut terminal = certified();
    for command in
        ["00A4040009F063617264686F7374", "00A404000BF063617264686F73740100", "00A404020AF063617264686F737401"]
    {
        assert_eq!(terminal.transmit(&hex(command)), hex("6A82"), "{command}");
        assert_eq!(terminal.transmit(&hex("80CABF2106A6048302110100")), hex("6D00"), "PIV goes on");
    }
    assert_eq!(terminal.transmit(&hex("0070000001")), hex("019000"));
    assert_eq!(terminal.transmit(&hex("01A404000AF063617264686F737401")), hex("6A82"));
    assert!(terminal.transmit(&hex(SELECT)).ends_with(&hex("9000")));
    assert_eq!(terminal.transmit(&hex("8150600008010203040506070800")).len(), 2, "not on the other one");
}

/// As with any other application's selection (ISO/IEC 7816-4, 11.2.2).
#[test]
fn its_selection_ends_what_was_proved_on_the_basic_channel_and_leaves_the_others() {
    let mut terminal = certified();
    assert_eq!(terminal.verify(PIN), 0x9000);
    assert_eq!(terminal.transmit(&hex("0070000001")), hex("019000"));
    assert!(terminal.transmit(&hex("01A4040005A00000030800")).ends_with(&hex("9000")));
    assert_eq!(terminal.transmit(&hex("0120008008313233343536FFFF")), hex("9000"));
    select(&mut terminal);
    assert_eq!(terminal.transmit(&hex("01200080")), hex("9000"));
    assert!(terminal.transmit(&hex("00A4040005A00000030800")).ends_with(&hex("9000")));
    assert_eq!(terminal.pin_status(), 0x63C3);
    assert_eq!(terminal.transmit(&hex("01200080")), hex("9000"));
}

#[test]
fn a_selection_of_anything_else_leaves_it() {
    for (other, expected) in
        [("00A4040005A00000030800", 0x9000), ("00A4040005A00000099900", 0x6A82), ("00A4000C023F00", 0x6A82)]
    {
        let mut terminal = selected();
        let answer = terminal.transmit(&hex(other));
        assert!(answer.ends_with(&u16::to_be_bytes(expected)), "{other}");
        assert_ne!(terminal.transmit(&hex("802A011000")), hex("6A80"), "{other}");
    }
    let mut terminal = selected();
    assert_eq!(terminal.transmit(&hex("802A011000")), hex("6A80"), "the domain's own answer");
}

#[test]
fn a_long_certificate_may_come_as_a_chain_and_the_cards_in_pieces() {
    let mut terminal = selected();
    let certificate = Device::new(1).certificate;
    let mut pieces = certificate.chunks(100).peekable();
    while let Some(piece) = pieces.next() {
        let cla = if pieces.peek().is_some() { 0x90 } else { 0x80 };
        let command = [&[cla, 0x2A, 0x01, 0x10, piece.len() as u8][..], piece].concat();
        assert_eq!(terminal.transmit(&command), hex("9000"));
    }
    assert_eq!(terminal.transmit(&hex("8082011100")), hex("6A80"), "the certificate has come");
    let whole = send(&mut terminal, [0x80, 0xCA, 0xBF, 0x21], &hex("A60483021101")).0;
    let mut answer = terminal.transmit(&hex("80CABF2106A6048302110164"));
    let mut data: Vec<u8> = Vec::new();
    while answer[answer.len() - 2] == 0x61 {
        data.extend(&answer[..answer.len() - 2]);
        answer = terminal.transmit(&hex("00C0000064"));
    }
    data.extend(&answer[..answer.len() - 2]);
    assert_eq!(data, whole);
}

#[test]
fn only_the_full_level_opens_a_session() {
    let mut terminal = certified();
    let set = Device::new(1).pair(&mut terminal, 0x60).unwrap();
    for level in (0..=0xFF).filter(|level| *level != 0x33) {
        select(&mut terminal);
        let initiated = initialize_update(&mut terminal, &set, 0).unwrap();
        assert_eq!(initiated.authenticate(&mut terminal, level).err(), Some(0x6A86), "{level:02X}");
    }
    authenticate(&mut terminal, &set).unwrap();
}

#[test]
fn a_wrong_cryptogram_or_challenge_ends_the_attempt() {
    let mut terminal = certified();
    let set = Device::new(1).pair(&mut terminal, 0x60).unwrap();
    select(&mut terminal);
    for length in [7, 9, 16] {
        assert_eq!(send(&mut terminal, [0x80, 0x50, 0x60, 0], &vec![1; length]).1, 0x6700);
    }
    let cryptogram = initialize_update(&mut terminal, &set, 0).unwrap().cryptogram;
    let wrong = [&cryptogram[..], &[0; 8]].concat();
    assert_eq!(send(&mut terminal, [0x84, 0x82, 0x33, 0], &wrong).1, 0x6300);
    assert_eq!(send(&mut terminal, [0x84, 0x82, 0x33, 0], &wrong).1, 0x6985);
    let mut initiated = initialize_update(&mut terminal, &set, 0).unwrap();
    initiated.cryptogram[7] ^= 1;
    assert_eq!(initiated.authenticate(&mut terminal, 0x33).err(), Some(0x6300));
    let other = Set { keys: Set::made_up(0x61, 16).keys, ..set };
    let initiated = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        initialize_update(&mut terminal, &other, 0).map(drop)
    }));
    assert!(initiated.is_err(), "the card's cryptogram is not that of other keys");
}

#[test]
fn its_steps_serve_the_session_that_they_came_in() {
    let mut terminal = certified();
    let set = Device::new(1).pair(&mut terminal, 0x60).unwrap();
    select(&mut terminal);
    let initiated = initialize_update(&mut terminal, &set, 0).unwrap();
    select(&mut terminal);
    assert_eq!(initiated.authenticate(&mut terminal, 0x33).err(), Some(0x6985));
    let initiated = initialize_update(&mut terminal, &set, 0).unwrap();
    terminal.protocol = Protocol::Spi;
    select(&mut terminal);
    assert_eq!(initiated.authenticate(&mut terminal, 0x33).err(), Some(0x6985));
    terminal.protocol = Protocol::ApduGate;
    let initiated = initialize_update(&mut terminal, &set, 0).unwrap();
    terminal.card().reset(Port::Apdu(Protocol::ApduGate));
    select(&mut terminal);
    assert_eq!(initiated.authenticate(&mut terminal, 0x33).err(), Some(0x6985));
}
