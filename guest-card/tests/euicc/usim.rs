//! The enabled profile's files, and that only it has any.

use cardhost_wire::{
    control::SessionState,
    port::{Port, Protocol},
    profiles::ProfileClass,
    tlv::object,
};

use crate::{
    harness::{Terminal, hex},
    local_assistant::{card_with, disable, enable, iccid, of_class, profile, send},
};

const USIM: &str = "A0000000871002FFFFFFFF8900000100";
const FCP: &str = "6226820278218410A0000000871002FFFFFFFF8900000100A5038001718A0105C606900100830101";

fn on(terminal: &mut Terminal, command: &str) -> String {
    let (data, status) = send(terminal, &hex(command));
    format!("{}{status:04X}", hex::encode_upper(data))
}

fn play(terminal: &mut Terminal, script: &[(&str, &str)]) {
    for (command, expected) in script {
        assert_eq!(on(terminal, command), *expected, "{command}");
    }
}

/// A card whose profile 0 is enabled and profile 1 is not.
fn card() -> Terminal {
    let mut terminal = card_with([profile(0), profile(1)]);
    assert_eq!(enable(&mut terminal, 0), 0);
    terminal
}

#[test]
fn without_an_enabled_profile_there_are_no_files() {
    let mut terminal = card_with([profile(0)]);
    play(
        &mut terminal,
        &[
            ("00A4040C07A0000000871002", "6A82"),
            ("00A4000C022FE2", "6A82"),
            ("00A4000C022F00", "6A82"),
            ("00A40804022FE2", "6A82"),
            ("00B0820000", "6A82"),
            ("00B201F400", "6A82"),
            ("00A4000C023F00", "9000"),
        ],
    );
}

#[test]
fn the_master_file_has_the_profiles_identifier_and_application() {
    let mut terminal = card();
    let iccid = hex::encode_upper(iccid(0).coded());
    let record = format!("61184F10{USIM}50045553494D");
    play(
        &mut terminal,
        &[
            ("00B0000000", "6986"),
            ("00A40004022FE2", "62178202412183022FE28A01058C0303FF008002000A8801109000"),
            ("00B000000A", &format!("{iccid}9000")),
            ("00B0000000", &format!("{iccid}9000")),
            ("00B00000", &format!("{iccid}9000")),
            ("00B0000204", &format!("{}9000", &iccid[4..12])),
            ("00B000020A", "6C08"),
            ("00B0000A01", "6B00"),
            ("00B201041A", "6981"),
            ("00A40000022F00", "621A82054221001A0183022F008A01058C0303FF008002001A8801F09000"),
            ("00B201041A", &format!("{record}9000")),
            ("00B2010400", &format!("{record}9000")),
            ("00B201041B", "6C1A"),
            ("00B2020400", "6A83"),
            ("00B2010200", "6A86"),
            ("00B0000001", "6981"),
            ("00B0820001", &format!("{}9000", &iccid[..2])),
            ("00B201F41A", &format!("{record}9000")),
            ("00B09F0001", "6A82"),
            ("00A40800022FE2", "62178202412183022FE28A01058C0303FF008002000A8801109000"),
            ("00A40002022FE2", "6A86"),
            ("00A40000026F07", "6A82"),
            ("00A40000027FFF", "6A82"),
            ("00A40300", "621B8202782183023F00A5068001718701018A0105C6069001008301019000"),
        ],
    );
}

#[test]
fn the_usim_is_selected_by_a_part_of_its_name_and_has_the_subscriber() {
    let mut terminal = card();
    let imsi = "0809101010325476089000".to_owned();
    play(
        &mut terminal,
        &[
            ("00A4040407A0000000871002", &format!("{FCP}9000")),
            ("80F2000000", &format!("{FCP}9000")),
            ("80F2000100", &format!("8410{USIM}9000")),
            ("80F2000C", "9000"),
            ("00A4000C026F07", "9000"),
            ("00B0000009", &imsi),
            ("00A40004027FFF", &format!("{FCP}9000")),
            ("00B0870009", &imsi),
            ("00A4000C022FE2", "6A82"),
            ("00A4080C047FFF6F07", "9000"),
            ("00B0000009", &imsi),
            ("00A4090C026F07", "9000"),
            ("00A4080C022FE2", "9000"),
            ("00B0000001", "989000"),
            ("00A4080C027FFF", "6A82"),
            (&format!("00A4040C10{USIM}"), "9000"),
            ("00A40304", "621B8202782183023F00A5068001718701018A0105C6069001008301019000"),
        ],
    );
}

#[test]
fn a_usim_whose_profile_is_disabled_is_gone_from_every_channel() {
    let mut terminal = card();
    play(&mut terminal, &[("00A4040C07A0000000871002", "9000"), ("00A4000C026F07", "9000")]);
    assert_eq!(enable(&mut terminal, 1), 0);
    // As after a reset: the master file is selected. The new USIM is another one.
    play(&mut terminal, &[("00B0000009", "6986"), ("80F2000100", "9000")]);
    play(&mut terminal, &[("00A4040C07A0000000871002", "9000"), ("00B0870009", "0809101010325476189000")]);
    assert_eq!(disable(&mut terminal, 1), 0);
    play(&mut terminal, &[("00B0870009", "6A82"), ("00A4040C07A0000000871002", "6A82")]);
}

#[test]
fn the_enabled_profile_is_the_same_after_a_power_cut() {
    let mut terminal = card().restarted();
    play(&mut terminal, &[("00B0820001", "989000"), ("00A4040C07A0000000871002", "9000")]);
}

#[test]
fn a_test_profile_has_a_usim_too() {
    let mut terminal = card_with([of_class(0, ProfileClass::Test)]);
    assert_eq!(enable(&mut terminal, 0), 0);
    play(&mut terminal, &[("00A4040407A0000000871002", &format!("{FCP}9000"))]);
}

/// A name that only one container has means the same on all protocols, as every other does.
#[test]
fn the_usim_answers_by_its_name_on_each_protocol() {
    let mut terminal = card();
    for protocol in Protocol::ALL {
        let command = [&hex("00A40400")[..], &object(0, &hex("A0000000871002"))[1..], &[0]].concat();
        let answer = terminal.card().transmit(Port::Apdu(protocol), &command).unwrap();
        assert_eq!(hex::encode_upper(answer), format!("{FCP}9000"), "{protocol}");
    }
}

#[test]
fn terminal_capabilities_are_taken_and_checked() {
    let mut terminal = card();
    play(
        &mut terminal,
        &[
            ("80AA000004A9028100", "9000"),
            ("80AA000002A900", "9000"),
            ("80AA000103A90081", "6A86"),
            ("80AA000003A90081", "6A80"),
            ("80AA000004A9025C00", "6A80"),
            ("80AA0000", "6A80"),
            ("00AA000004A9028100", "6D00"),
        ],
    );
}

#[test]
fn a_file_or_a_block_that_waits_is_session_state() {
    let mut terminal = card();
    for protocol in Protocol::ALL {
        terminal.card().reset(Port::Apdu(protocol));
    }
    let mut state = |command| {
        send(&mut terminal, &hex(command));
        terminal.session_state()
    };
    assert_eq!(state("80AA000004A9028100"), SessionState::None);
    assert_eq!(state("00A4000C022FE2"), SessionState::Held);
    assert_eq!(state("00A4000C023F00"), SessionState::None);
    assert_eq!(state("00B0820001"), SessionState::Held);
    assert_eq!(state("00A4040C"), SessionState::None);
    assert_eq!(state("00A4040C07A0000000871002"), SessionState::Held);
}
