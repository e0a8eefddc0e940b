//! What is not the terminal's next message is not executed. The commands inside are VERIFY with a wrong PIN, so that a
//! try would be lost by each that was.

use cardhost_wire::port::{Port, Protocol};

use crate::{
    authority::certified,
    device::{Device, Session, authenticate, select},
    harness::{PIN, Terminal, hex},
    off_card::Set,
};

const WRONG: &str = "0020008008303030303030FFFF";
const SELECT_PIV: &str = "00A4040005A000000308";
const TRIES: &str = "00200080";

/// Sessions of one card, one after the other; PIV is selected in each.
struct Paired {
    terminal: Terminal,
    set: Set,
}

impl Paired {
    fn new() -> Self {
        let mut terminal = certified();
        let set = Device::new(1).pair(&mut terminal, 0x60).unwrap();
        Self { terminal, set }
    }

    fn open(&mut self) -> Session {
        let mut session = authenticate(&mut self.terminal, &self.set).unwrap();
        assert_eq!(session.status(&mut self.terminal, &hex(SELECT_PIV)), 0x9000);
        session
    }

    /// The session is over, and no try of the PIN was lost.
    fn assert_over(&mut self, mut session: Session) {
        assert_eq!(session.send(&mut self.terminal, &hex(SELECT_PIV)).err(), Some(0x6982));
        let mut session = self.open();
        assert_eq!(session.status(&mut self.terminal, &hex(TRIES)), 0x63C3);
    }

    /// The session goes on, and no try of the PIN was lost.
    fn assert_open(&mut self, session: &mut Session) {
        assert_eq!(session.status(&mut self.terminal, &hex(TRIES)), 0x63C3);
    }
}

#[test]
fn any_other_bit_is_refused() {
    let mut paired = Paired::new();
    let length = paired.open().wrap(&hex(WRONG)).len();
    // Lc may not be changed without becoming another message; Le is not protected.
    for at in (1..4).chain(7..length - 2) {
        let mut session = paired.open();
        let mut wrapped = session.wrap(&hex(WRONG));
        wrapped[at] ^= 1 << (at % 8);
        assert_eq!(paired.terminal.transmit(&wrapped), hex("6988"), "{at}");
        paired.assert_over(session);
    }
}

#[test]
fn truncated_and_lengthened_messages_are_refused() {
    let mut paired = Paired::new();
    let length = paired.open().wrap(&hex(WRONG)).len();
    for end in (1..length - 2).chain([length - 1]) {
        let mut session = paired.open();
        let wrapped = session.wrap(&hex(WRONG));
        assert_eq!(paired.terminal.transmit(&wrapped[..end]), hex("6988"), "{end}");
        paired.assert_over(session);
    }
    let mut session = paired.open();
    let wrapped = [session.wrap(&hex(WRONG)), vec![0]].concat();
    assert_eq!(paired.terminal.transmit(&wrapped), hex("6988"));
    paired.assert_over(session);
}

/// The lengths may be right and the message another: blocks taken from its end.
#[test]
fn a_message_without_its_last_block_is_refused() {
    let mut paired = Paired::new();
    let mut session = paired.open();
    let wrapped = session.wrap(&[&hex(WRONG)[..], &[0; 16]].concat());
    let data = &wrapped[7..wrapped.len() - 2];
    let (blocks, mac) = data.split_at(data.len() - 8);
    let shorter = [&blocks[..blocks.len() - 16], mac].concat();
    let message = [&wrapped[..6], &[shorter.len() as u8], &shorter, &[0, 0]].concat();
    assert_eq!(paired.terminal.transmit(&message), hex("6988"));
    paired.assert_over(session);
}

#[test]
fn a_message_serves_once_and_in_its_order() {
    let mut paired = Paired::new();
    let mut session = paired.open();
    let wrapped = session.wrap(&hex(TRIES));
    assert!(session.unwrap(&paired.terminal.transmit(&wrapped)).is_ok());
    assert_eq!(paired.terminal.transmit(&wrapped), hex("6988"));
    paired.assert_over(session);
    let mut session = paired.open();
    let _first = session.wrap(&hex(TRIES));
    let second = session.wrap(&hex(WRONG));
    assert_eq!(paired.terminal.transmit(&second), hex("6988"));
    paired.assert_over(session);
}

#[test]
fn a_message_of_another_session_is_refused() {
    let mut paired = Paired::new();
    let old = paired.open().wrap(&hex(WRONG));
    let session = paired.open();
    assert_eq!(paired.terminal.transmit(&old), hex("6988"));
    paired.assert_over(session);
}

#[test]
fn wrong_padding_under_a_right_mac_is_refused() {
    let mut paired = Paired::new();
    for blocks in [[0; 32], [7; 32]] {
        let mut session = paired.open();
        let message = session.wrap_without_padding(&blocks);
        assert_eq!(paired.terminal.transmit(&message), hex("6988"));
        paired.assert_over(session);
    }
}

#[test]
fn commands_in_plain_are_refused_and_the_session_goes_on() {
    let mut paired = Paired::new();
    let mut session = paired.open();
    for command in [
        WRONG,
        SELECT_PIV,
        "00A4040C",
        "00C0000000",
        "0070000001",
        "01200080",
        "102000800430303030",
        "8050600008010203040506070800",
        "802A011000",
        "80C200000102",
        "04C2000008010203040506070800",
        "0CC2000008010203040506070800",
        "00A4040009F063617264686F7374",
        "",
        "00",
        "80",
    ] {
        assert_eq!(paired.terminal.transmit(&hex(command)), hex("6982"), "{command}");
        paired.assert_open(&mut session);
    }
}

#[test]
fn another_secured_command_than_envelope_ends_the_session() {
    let mut paired = Paired::new();
    for message in
        ["84200080080102030405060708", "84C20000080102030405060708", "84C2010000000801020304050607080000"]
    {
        let session = paired.open();
        assert_eq!(paired.terminal.transmit(&hex(message)), hex("6988"), "{message}");
        paired.assert_over(session);
    }
}

#[test]
fn selection_of_the_domain_in_plain_ends_the_session_and_what_it_proved() {
    let mut paired = Paired::new();
    let mut session = paired.open();
    assert_eq!(session.verify(&mut paired.terminal, PIN), 0x9000);
    assert_eq!(select(&mut paired.terminal).1, 0x9000);
    paired.assert_over(session);
    assert_eq!(paired.terminal.transmit(&hex("00A4040C")), hex("6982"), "a session is open");
}

/// What was proved in plain is not the terminal's that authenticates, and the other way round.
#[test]
fn a_session_begins_and_ends_with_nothing_proved() {
    let mut paired = Paired::new();
    paired.terminal.card().reset(Port::Apdu(Protocol::ApduGate));
    paired.terminal.select();
    assert_eq!(paired.terminal.verify(PIN), 0x9000);
    let mut session = paired.open();
    paired.assert_open(&mut session);
    assert_eq!(session.verify(&mut paired.terminal, PIN), 0x9000);
    assert_eq!(paired.terminal.transmit(&hex("84C2")), hex("6988"));
    assert_eq!(paired.terminal.transmit(&hex(TRIES)), hex("6D00"), "the root is selected");
    paired.terminal.select();
    assert_eq!(paired.terminal.pin_status(), 0x63C3);
}

#[test]
fn a_set_up_is_protected_as_well() {
    let mut terminal = certified();
    let mut session = Device::new(1).set_up(&mut terminal).unwrap();
    assert_eq!(terminal.transmit(&hex(WRONG)), hex("6982"));
    let wrapped = session.wrap(&hex(WRONG));
    let mut disturbed = wrapped.clone();
    disturbed[20] ^= 1;
    assert_eq!(terminal.transmit(&disturbed), hex("6988"));
    assert_eq!(terminal.transmit(&wrapped), hex("6982"));
    let mut session = Device::new(1).set_up(&mut terminal).unwrap();
    assert_eq!(session.status(&mut terminal, &hex(WRONG)), 0x63C2, "it was the first that counted");
}
