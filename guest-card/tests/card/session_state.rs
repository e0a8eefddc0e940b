//! What the card says of its sessions: `None` only where a terminal could not tell that it was switched off.

use cardhost_wire::{
    control::{
        Command,
        SessionState::{self, Held, None},
    },
    port::{Port, Protocol},
};

use crate::harness::{PIN, Terminal, hex};

const SELECT_PIV: &str = "00A4040C05A000000308";
const SELECT_ROOT: &str = "00A4040C";

/// A card right after a reset of its protocol.
fn after_reset() -> Terminal {
    let mut terminal = Terminal::new();
    terminal.card().reset(Port::Apdu(Protocol::ApduGate));
    terminal
}

/// The state after each command, which must be the one beside it.
fn play(script: &[(&str, SessionState)]) {
    let mut terminal = after_reset();
    for (command, expected) in script {
        terminal.transmit(&hex(command));
        assert_eq!(terminal.session_state(), *expected, "{command}");
    }
}

#[test]
fn a_card_after_its_start_or_a_reset_holds_nothing() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.session_state(), Held, "PIV is selected");
    terminal.card().reset(Port::Apdu(Protocol::ApduGate));
    assert_eq!(terminal.session_state(), None);
    for protocol in Protocol::ALL {
        let refused = terminal.card().transmit(Port::Apdu(protocol), &hex("00FE0000")).unwrap();
        assert_eq!(refused, hex("6D00"));
        assert_eq!(terminal.session_state(), None, "a refused command on {protocol} leaves nothing");
    }
}

#[test]
fn a_selection_is_held_until_the_root_is_selected_again() {
    play(&[("00A4040C05A000000309", None), (SELECT_PIV, Held), (SELECT_ROOT, None)]);
}

#[test]
fn each_protocol_counts() {
    for protocol in Protocol::ALL {
        let mut terminal = after_reset();
        terminal.card().transmit(Port::Apdu(protocol), &hex(SELECT_PIV));
        assert_eq!(terminal.session_state(), Held, "{protocol}");
        terminal.card().reset(Port::Apdu(protocol));
        assert_eq!(terminal.session_state(), None, "{protocol}");
    }
}

#[test]
fn the_other_containers_root_is_a_selection() {
    let mut terminal = after_reset();
    let answer =
        terminal.card().transmit(Port::Apdu(Protocol::Iso7816T1), &hex("00A4040C08A000000003000000"));
    assert_eq!(answer.unwrap(), hex("9000"));
    assert_eq!(terminal.session_state(), Held);
}

#[test]
fn a_logical_channel_is_held_until_it_is_closed() {
    play(&[("0070000001", Held), ("01A4040C05A000000308", Held), ("00708001", None)]);
}

#[test]
fn a_chain_is_held_until_it_ends() {
    play(&[("1020008004", Held), ("102000800431323334", Held), ("002000800435360000", None)]);
}

/// A response is waiting after the selection is back at the root only on another channel than the one that asked, or
/// within the SELECT itself: here SELECT's own data, fetched in two pieces.
#[test]
fn a_response_that_waits_is_held_until_it_is_fetched_or_given_up() {
    play(&[("00A4040001", Held), ("00C0000000", None)]);
    play(&[("00A4040001", Held), (SELECT_ROOT, None)]);
}

#[test]
fn a_verified_pin_or_a_management_key_is_held_until_the_reset() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.verify(PIN), 0x9000);
    assert_eq!(terminal.session_state(), Held);
    terminal.card().reset(Port::Apdu(Protocol::ApduGate));
    assert_eq!(terminal.session_state(), None);
    terminal.select();
    terminal.authenticate();
    assert_eq!(terminal.session_state(), Held);
    terminal.card().reset(Port::Apdu(Protocol::ApduGate));
    assert_eq!(terminal.session_state(), None);
}

#[test]
fn the_question_and_the_hosts_commands_change_no_session() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.verify(PIN), 0x9000);
    let commits = terminal.host().commits;
    assert_eq!(terminal.session_state(), Held);
    assert_eq!(terminal.pin_status(), 0x9000);
    assert_eq!(terminal.host().commits, commits);
    let mut terminal = after_reset();
    drop(terminal.command(Command::PendingSecrets));
    assert_eq!(terminal.session_state(), None);
}
