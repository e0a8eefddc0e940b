//! What nobody may do without a channel, or through one that has not authenticated him.

use crate::{
    harness::{Terminal, hex},
    off_card::{ISSUER, OffCard, Set, select, send},
};

/// Well-formed commands, each of which changes the card or tells what is not public.
const GUARDED: [&str; 14] = [
    "80D80081 50 01 88100000000000000000000000000000000000 88100000000000000000000000000000000000 88100000000000000000000000000000000000",
    "80F10013 04 01F00100",
    "80E40000 03 D20130",
    "80E40000 07 4F05A000000001",
    "80E29000 05 42030A0B0C",
    "80F24000 02 4F00",
    "80F28000 02 4F00",
    "80F22000 02 4F00",
    "80F08007 00",
    "80F080FF 00",
    "80F04080 0B A000000308000010000100",
    "80E60C00 1F 07A0000001515350 08A000000151535041 05A000000901 0180 02C900 00",
    "80E62000 10 0000 0BA000000308000010000100 000000",
    "80E61000 1A 08A000000151000000 00 0BA000000308000010000100 00 00 00",
];

fn command(text: &str) -> (Vec<u8>, Vec<u8>) {
    let bytes = hex(&text.replace(' ', ""));
    (bytes[..4].to_vec(), bytes[5..].to_vec())
}

#[test]
fn what_changes_the_card_needs_authentication() {
    let mut terminal = Terminal::new();
    assert_eq!(select(&mut terminal, &ISSUER), 0x9000);
    let before = terminal.host().commits;
    for text in GUARDED {
        let (header, data) = command(text);
        let header = header.try_into().unwrap();
        assert_eq!(send(&mut terminal, header, &data).1, 0x6982, "{text}");
    }
    assert_eq!(terminal.host().commits, before);
}

#[test]
fn an_unknown_or_malformed_command_is_refused_in_a_channel_and_changes_nothing() {
    let mut terminal = Terminal::new();
    let mut off_card = OffCard::issuer(&mut terminal);
    let before = terminal.host().commits;
    for (text, expected) in [
        ("80010000 00", 0x6D00),
        ("80E60200 00", 0x6985),
        ("80E60400 00", 0x6A80),
        ("80E6FF00 00", 0x6A86),
        ("80E40000 00", 0x6A80),
        ("80E40000 03 D20177", 0x6A88),
        ("80E40000 07 4F05A000000901", 0x6A88),
        ("80E40000 0D 4F0BA000000308000010000100", 0x6985),
        ("80F24000 00", 0x6A80),
        ("80F24002 07 4F05A000000901", 0x6A88),
        ("80F24001 02 4F00", 0x6985),
        ("80F21100 02 4F00", 0x6A86),
        ("80F08001 00", 0x6985),
        ("80F08002 00", 0x6A80),
        ("80F04080 05 A000000901", 0x6A88),
        ("80E20000 00", 0x9000),
        ("80E28005 00", 0x6A80),
        ("80E28800 00", 0x6A86),
        ("80E29000 03 990100", 0x6A80),
        ("80E29000 02 7000", 0x6A80),
        ("80E29000 06 A60483021301", 0x6A88),
        ("80D80081 01 01", 0x6A80),
        ("80D80001 01 01", 0x6A86),
        ("80D80081 01 80", 0x6A80),
        ("80D80010 05 01B0010400", 0x6A80),
        ("80F10013 04 01F00101", 0x6A80),
        ("80F10010 04 01F00100", 0x6A86),
        ("80F10013 04 80F00100", 0x6A80),
        ("80F10113 04 02F00100", 0x6A88),
    ] {
        let (header, data) = command(text);
        let header = header.try_into().unwrap();
        assert_eq!(off_card.status(&mut terminal, header, &data), expected, "{text}");
    }
    assert_eq!(terminal.host().commits, before);
}

#[test]
fn the_uicc_has_no_secure_channel() {
    use cardhost_wire::port::{Port, Protocol};
    let mut terminal = Terminal::new();
    let command = [&hex("8050300008")[..], &[1; 8], &[0]].concat();
    let answer = terminal.card().transmit(Port::Apdu(Protocol::Iso7816T1), &command);
    assert_eq!(answer.unwrap(), hex("6D00"));
    let answer = terminal.card().transmit(Port::Apdu(Protocol::Iso7816T1), &hex("8482000000"));
    assert_eq!(answer.unwrap(), hex("6882"));
    assert!(OffCard::open(&mut terminal, &Set::well_known(), 0x33).is_ok(), "PIV has one");
}
