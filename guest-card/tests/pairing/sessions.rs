//! What ends sessions, on whichever protocol, and what the host is told of them.

use cardhost_wire::{
    control::SessionState,
    pairing::PairingCommand,
    port::{Port, Protocol},
};

use crate::{
    authority::{List, certified, command, read},
    device::{Device, Session, authenticate, select, serial},
    harness::{PIN, Terminal, hex},
    off_card::{Set, initialize_update, send},
};

const SELECT_PIV: &str = "00A4040005A000000308";
const TRIES: &str = "00200080";
const WRONG: &str = "0020008008303030303030FFFF";

/// Two terminals with a session each, on two protocols, in which the PIN was verified.
struct Two {
    terminal: Terminal,
    first: Session,
    second: Session,
    sets: [Set; 2],
}

impl Two {
    fn new() -> Self {
        let mut terminal = certified();
        let sets = [1, 2].map(|number| Device::new(number).pair(&mut terminal, 0x5F + number).unwrap());
        let [first, second] = [Protocol::ApduGate, Protocol::Iso7816T1]
            .into_iter()
            .zip(&sets)
            .map(|(protocol, set)| {
                terminal.protocol = protocol;
                let mut session = authenticate(&mut terminal, set).unwrap();
                assert_eq!(session.status(&mut terminal, &hex(SELECT_PIV)), 0x9000);
                assert_eq!(session.verify(&mut terminal, PIN), 0x9000);
                session
            })
            .collect::<Vec<_>>()
            .try_into()
            .map_err(drop)
            .unwrap();
        terminal.protocol = Protocol::ApduGate;
        Self { terminal, first, second, sets }
    }

    fn host(&mut self, asked: PairingCommand) {
        command(&mut self.terminal, asked).unwrap();
    }

    /// The first session is over with all that it proved, and the second goes on.
    fn assert_first_over(mut self) {
        self.terminal.protocol = Protocol::ApduGate;
        assert_eq!(self.first.send(&mut self.terminal, &hex(TRIES)).err(), Some(0x6982));
        assert_eq!(self.terminal.transmit(&hex(TRIES)), hex("6D00"), "the root is selected");
        assert!(self.terminal.transmit(&hex(SELECT_PIV)).ends_with(&hex("9000")));
        assert_eq!(self.terminal.pin_status(), 0x63C3);
        self.terminal.protocol = Protocol::Iso7816T1;
        assert_eq!(self.second.status(&mut self.terminal, &hex(TRIES)), 0x9000);
    }
}

#[test]
fn a_deleted_pairing_ends_its_session_and_no_other() {
    let mut two = Two::new();
    two.host(PairingCommand::Delete(0x60));
    assert_eq!(read(&mut two.terminal).pairings.len(), 1);
    two.assert_first_over();
    let mut two = Two::new();
    for nothing in [0x00, 0x5F, 0x62, 0x70] {
        let commits = two.terminal.host().commits;
        two.host(PairingCommand::Delete(nothing));
        assert_eq!(two.terminal.host().commits, commits);
    }
    assert_eq!(two.first.status(&mut two.terminal, &hex(TRIES)), 0x9000);
}

#[test]
fn a_revoked_certificate_ends_the_session_of_its_pairing() {
    let mut two = Two::new();
    List::new(1, &[&serial(1)]).deliver(&mut two.terminal).unwrap();
    assert_eq!(authenticate_with(&mut two, 0), Some(0x6A88));
    two.assert_first_over();
}

fn authenticate_with(two: &mut Two, set: usize) -> Option<u16> {
    two.terminal.protocol = Protocol::Spi;
    authenticate(&mut two.terminal, &two.sets[set].clone()).err()
}

#[test]
fn a_replaced_pairing_ends_its_session_also_under_the_same_version() {
    for kvn in [0x60, 0x6A] {
        let mut two = Two::new();
        two.terminal.protocol = Protocol::Spi;
        Device::new(1).pair(&mut two.terminal, kvn).unwrap();
        two.assert_first_over();
    }
}

#[test]
fn a_reset_ends_the_session() {
    let mut two = Two::new();
    two.terminal.card().reset(Port::Apdu(Protocol::ApduGate));
    two.assert_first_over();
}

#[test]
fn a_pairing_that_ends_between_two_steps_opens_nothing() {
    let mut terminal = certified();
    let device = Device::new(1);
    let set = device.pair(&mut terminal, 0x60).unwrap();
    select(&mut terminal);
    let initiated = initialize_update(&mut terminal, &set, 0).unwrap();
    command(&mut terminal, PairingCommand::Delete(0x60)).unwrap();
    assert_eq!(initiated.authenticate(&mut terminal, 0x33).err(), Some(0x6985));
    let certify = |terminal: &mut Terminal| send(terminal, [0x80, 0x2A, 0x01, 0x10], &device.certificate).1;
    select(&mut terminal);
    assert_eq!(certify(&mut terminal), 0x9000);
    List::new(1, &[&serial(2)]).deliver(&mut terminal).unwrap();
    assert_eq!(terminal.transmit(&hex("8082011100")), hex("6A80"), "another's certificate was revoked");
    assert_eq!(certify(&mut terminal), 0x9000);
    List::new(2, &[&serial(1)]).deliver(&mut terminal).unwrap();
    assert_eq!(terminal.transmit(&hex("8082011100")), hex("6985"));
}

#[test]
fn a_set_up_ends_with_its_certificate() {
    let mut terminal = certified();
    let mut session = Device::new(1).set_up(&mut terminal).unwrap();
    assert_eq!(session.verify(&mut terminal, PIN), 0x9000);
    List::new(1, &[&serial(2)]).deliver(&mut terminal).unwrap();
    assert_eq!(session.verify(&mut terminal, PIN), 0x9000);
    List::new(2, &[&serial(2), &serial(1)]).deliver(&mut terminal).unwrap();
    assert_eq!(session.send(&mut terminal, &hex(WRONG)).err(), Some(0x6982));
    assert!(read(&mut terminal).pairings.is_empty());
    terminal.card().reset(Port::Apdu(Protocol::ApduGate));
    terminal.select();
    assert_eq!(terminal.pin_status(), 0x63C3);
}

/// The terminal authenticates again and sends its command once more: the first time nothing was executed.
#[test]
fn after_a_power_cut_a_message_is_refused_and_nothing_executed() {
    for protocol in Protocol::ALL {
        let mut terminal = certified();
        terminal.protocol = protocol;
        let mut session = Device::new(1).paired(&mut terminal, 0x60);
        let mut terminal = terminal.restarted_at_root();
        terminal.protocol = protocol;
        assert_eq!(session.send(&mut terminal, &hex(WRONG)).err(), Some(0x6982), "{protocol}");
        let mut session = authenticate(&mut terminal, &Set::made_up(0x60, 16)).unwrap();
        assert_eq!(session.status(&mut terminal, &hex(SELECT_PIV)), 0x9000, "{protocol}");
        assert_eq!(session.status(&mut terminal, &hex(TRIES)), 0x63C3, "{protocol}");
    }
}

#[test]
fn a_session_without_more_is_not_held_and_each_step_before_it_is() {
    let mut terminal = certified();
    terminal.card().reset(Port::Apdu(Protocol::ApduGate));
    assert_eq!(terminal.session_state(), SessionState::None);
    select(&mut terminal);
    assert_eq!(terminal.session_state(), SessionState::Held);
    let mut session = Device::new(1).set_up(&mut terminal).unwrap();
    assert_eq!(terminal.session_state(), SessionState::Held);
    session.verify(&mut terminal, PIN);
    let set = session.put_key(&mut terminal, &Set::made_up(0x60, 16)).unwrap();
    assert_eq!(terminal.session_state(), SessionState::Held);
    select(&mut terminal);
    let initiated = initialize_update(&mut terminal, &set, 0).unwrap();
    assert_eq!(terminal.session_state(), SessionState::Held);
    initiated.authenticate(&mut terminal, 0x33).unwrap();
    assert_eq!(terminal.session_state(), SessionState::None);
    let mut session = authenticate(&mut terminal, &set).unwrap();
    assert_eq!(session.status(&mut terminal, &hex(SELECT_PIV)), 0x9000);
    assert_eq!(terminal.session_state(), SessionState::Held);
    assert_eq!(session.status(&mut terminal, &hex("00A4040C")), 0x9000);
    assert_eq!(terminal.session_state(), SessionState::None);
    session.status(&mut terminal, &hex("0070000001"));
    assert_eq!(terminal.session_state(), SessionState::Held);
    assert_eq!(session.status(&mut terminal, &hex("00708001")), 0x9000);
    assert_eq!(terminal.session_state(), SessionState::None);
    command(&mut terminal, PairingCommand::Delete(0x60)).unwrap();
    assert_eq!(terminal.session_state(), SessionState::None);
}
