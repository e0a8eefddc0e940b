//! SELECT by DF name on each of the six protocols.

use cardhost_wire::{
    port::{Port, Protocol},
    tlv::object,
};

use crate::harness::{PIN, Terminal, hex};

const ISD: &str = "6F4E8408A000000151000000A542733C06072A864886FC6B01";
const ISD_R: &str = "6F198410A0000005591010FFFFFFFF8900000100E00582030202029000";
const ECASD: &str = "6F128410A0000005591010FFFFFFFF89000002009000";
const EUICC_ROOT: &str = "6F118408A000000152000000E00582030202029000";
const MF: &str = "621B8202782183023F00A5068001718701018A0105C606900100830101";
const PIV: &str = "611F4F0600001000010079074F05A000000308";

fn select(terminal: &mut Terminal, protocol: Protocol, name: &str) -> String {
    let name = hex(name);
    let command = [&[0x00, 0xA4, 0x04, 0x00][..], &object(0, &name)[1..], &[0]].concat();
    let command = if name.is_empty() { hex("00A4040000") } else { command };
    hex::encode_upper(terminal.card().transmit(Port::Apdu(protocol), &command).unwrap())
}

fn expected(protocol: Protocol, name: &str) -> &'static str {
    let uicc = matches!(protocol, Protocol::Iso7816T0 | Protocol::Iso7816T1);
    match name {
        "A000000003000000" | "A000000003" => ISD,
        "" if uicc => MF,
        "A000000151000000" | "A000000151" if uicc => EUICC_ROOT,
        "" | "A000000151000000" | "A000000151" => ISD,
        "A000000152000000" => EUICC_ROOT,
        "A0000005591010FFFFFFFF8900000100" | "A000000559" => ISD_R,
        "A0000005591010FFFFFFFF8900000200" => ECASD,
        "A000000308000010000100" | "A00000030800001000" | "A000000308" => PIV,
        _ => "6A82",
    }
}

#[test]
fn names_mean_the_same_on_each_protocol_except_the_shared_root() {
    let names = [
        "",
        "A000000151000000",
        "A000000151",
        "A000000003000000",
        "A000000003",
        "A000000308000010000100",
        "A00000030800001000",
        "A000000308",
        "A0000003",
        "A00000030800001000010000",
        "A000000152000000",
        "A000000152",
        "A0000005591010FFFFFFFF8900000100",
        "A000000559",
        "A0000005591010FFFFFFFF8900000200",
        "A0000005591010FFFFFFFF8900001000",
        "A0000000871002",
        "7601FF000000",
        "A00000000101",
    ];
    let mut terminal = Terminal::new();
    for protocol in Protocol::ALL {
        for name in names {
            let answer = select(&mut terminal, protocol, name);
            assert!(answer.starts_with(expected(protocol, name)), "{protocol} {name}: {answer}");
        }
    }
}

#[test]
fn a_failed_select_changes_nothing() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.verify(PIN), 0x9000);
    for command in ["00A4040005A00000099900", "00A4040205A00000030800", "00A4040405A000000308"] {
        let answer = terminal.transmit(&hex(command));
        assert!(matches!(answer[..], [0x6A, 0x82 | 0x86]), "{command}");
    }
    assert_eq!(terminal.pin_status(), 0x9000);
}

/// SP 800-73-5, part 2, 3.1.1.
#[test]
fn piv_selected_again_keeps_its_security_status() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.verify(PIN), 0x9000);
    for name in ["A000000308000010000100", "A000000308"] {
        assert!(select(&mut terminal, Protocol::ApduGate, name).starts_with(PIV));
        assert_eq!(terminal.pin_status(), 0x9000);
    }
    assert!(select(&mut terminal, Protocol::ApduGate, "").starts_with(ISD));
    assert!(select(&mut terminal, Protocol::ApduGate, "A000000308").starts_with(PIV));
    assert_eq!(terminal.pin_status(), 0x63C3);
}

#[test]
fn a_select_is_answered_without_le_with_short_le_and_without_data() {
    let mut terminal = Terminal::new();
    let mut send = |command| hex::encode_upper(terminal.transmit(&hex(command)));
    let whole = send("00A4040005A000000308");
    assert!(whole.starts_with(PIV) && whole.ends_with("9000"));
    assert_eq!(send("00A4040005A000000308"), whole);
    assert_eq!(send("00A4040C05A000000308"), "9000");
    let piece = send("00A4040005A00000030808");
    assert!(whole.starts_with(&piece[..16]) && &piece[16..18] == "61");
}

/// What clients send to find out what card it is.
#[test]
fn probes_for_other_cards_get_clean_refusals() {
    let mut terminal = Terminal::new();
    let mut send = |protocol, command| terminal.card().transmit(Port::Apdu(protocol), &hex(command)).unwrap();
    for protocol in Protocol::ALL {
        assert!(matches!(send(protocol, "00A4040000")[..], [.., 0x90, 0x00] | [0x6A, 0x82]));
        for (command, expected) in [
            ("00A40000022F00", [[0x6A, 0x82], [0x6A, 0x82]]),
            ("00A4080C023F00", [[0x6A, 0x82], [0x6A, 0x82]]),
            ("00CADF3005", [[0x6A, 0x88], [0x6D, 0x00]]),
            ("80CA9F7E00", [[0x6A, 0x88], [0x6D, 0x00]]),
            ("00B0000000", [[0x6D, 0x00], [0x69, 0x86]]),
            ("00C0000000", [[0x69, 0x85], [0x69, 0x85]]),
            ("00A4040C", [[0x90, 0x00], [0x90, 0x00]]),
            ("00A4", [[0x67, 0x00], [0x67, 0x00]]),
        ] {
            let uicc = matches!(protocol, Protocol::Iso7816T0 | Protocol::Iso7816T1);
            assert_eq!(send(protocol, command), expected[usize::from(uicc)], "{protocol} {command}");
        }
    }
}
