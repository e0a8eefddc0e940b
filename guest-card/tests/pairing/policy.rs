//! What an unpaired terminal may do.

use cardhost_wire::{
    control::Answer,
    pairing::{PairingCommand, PairingPolicy},
    port::{Port, Protocol},
};

use crate::{
    authority::{certified, command, read},
    device::{Device, authenticate},
    harness::{PIN, Terminal, hex},
};

const COMMANDS: [&str; 9] = [
    "00A4040005A00000030800",
    "00A4040C",
    "00A4000C023F00",
    "0020008008303030303030FFFF",
    "102000800430303030",
    "0070000001",
    "00C0000000",
    "80CA006600",
    "84F2400008010203040506070800",
];

fn set(terminal: &mut Terminal, policy: PairingPolicy) {
    assert!(matches!(command(terminal, PairingCommand::SetPolicy(policy)), Ok(Answer::Done)));
}

#[test]
fn an_unpaired_terminal_may_only_pair() {
    for protocol in Protocol::ALL {
        let mut terminal = certified();
        set(&mut terminal, PairingPolicy::PairedOnly);
        terminal.protocol = protocol;
        for command in COMMANDS {
            assert_eq!(terminal.transmit(&hex(command)), hex("6982"), "{protocol} {command}");
        }
        assert_eq!(terminal.transmit(&hex("00")), hex("6982"), "{protocol}");
        let set = Device::new(1).pair(&mut terminal, 0x60).unwrap();
        terminal.card().reset(Port::Apdu(protocol));
        for command in COMMANDS {
            assert_eq!(terminal.transmit(&hex(command)), hex("6982"), "{protocol} {command}");
        }
        let mut session = authenticate(&mut terminal, &set).unwrap();
        assert_eq!(session.status(&mut terminal, &hex("00A4040C05A000000308")), 0x9000, "{protocol}");
        assert_eq!(session.verify(&mut terminal, PIN), 0x9000, "{protocol}");
        assert_eq!(session.status(&mut terminal, &hex("00200080")), 0x9000, "{protocol}");
    }
}

#[test]
fn leaving_the_domain_leads_nowhere() {
    let mut terminal = certified();
    set(&mut terminal, PairingPolicy::PairedOnly);
    crate::device::select(&mut terminal);
    for command in ["00A4040005A00000030800", "80CABF2106A6048302110100"] {
        assert_eq!(terminal.transmit(&hex(command)), hex("6982"));
    }
}

#[test]
fn a_session_in_plain_is_stopped_at_once_and_goes_on_when_it_may() {
    let mut terminal = certified();
    assert_eq!(terminal.verify(PIN), 0x9000);
    set(&mut terminal, PairingPolicy::PairedOnly);
    assert_eq!(terminal.pin_status(), 0x6982);
    assert_eq!(read(&mut terminal).policy, PairingPolicy::PairedOnly);
    set(&mut terminal, PairingPolicy::Open);
    assert_eq!(terminal.pin_status(), 0x9000);
}

#[test]
fn the_policy_survives_a_restart_and_the_same_again_writes_nothing() {
    let mut terminal = certified();
    let commits = terminal.host().commits;
    set(&mut terminal, PairingPolicy::Open);
    assert_eq!(terminal.host().commits, commits);
    for _ in 0..2 {
        set(&mut terminal, PairingPolicy::PairedOnly);
        assert_eq!(terminal.host().commits, commits + 1);
    }
    let mut terminal = terminal.restarted_at_root();
    assert_eq!(terminal.transmit(&hex("00A4040C")), hex("6982"));
}
