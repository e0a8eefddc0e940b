//! Pairing data: which container a shared identifier reaches, and that nothing else depends on it.

use std::{env, fs};

use cardhost_wire::{
    control::{Answer, Command, Failure},
    port::{Port, Protocol},
    protocols::{Container, ProtocolPairing},
    tlv::object,
};
use proptest::prelude::*;

use crate::{
    frozen_form::frozen_with_keys,
    harness::{Host, Terminal, hex},
};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/protocols-v1.bin");

const SHARED_ROOT: &str = "A000000151000000";
const EUICC_ROOT: &str = "A000000152000000";
const PIV: &str = "A000000308";

fn send(terminal: &mut Terminal, protocol: Protocol, command: &str) -> String {
    let response = terminal.card().transmit(Port::Apdu(protocol), &hex(command)).unwrap();
    hex::encode_upper(response)
}

fn select(terminal: &mut Terminal, protocol: Protocol, name: &str) -> String {
    let name = hex::encode(&object(0, &hex(name))[1..]);
    send(terminal, protocol, &format!("00A40400{name}00"))
}

/// The container whose root answers to the shared AID.
fn root(terminal: &mut Terminal, protocol: Protocol) -> Container {
    let answer = select(terminal, protocol, SHARED_ROOT);
    match &answer[4..24] {
        "8408A000000151000000" => domain(&send(terminal, protocol, "00CA00E000")),
        "8408A000000152000000" => Container::Uicc,
        _ => panic!("{answer}"),
    }
}

/// The secure element whose issuer security domain has these keys: the first one's are well known.
fn domain(keys: &str) -> Container {
    match &keys[..8] {
        "C0040130" => Container::SecureElement,
        "C00401FF" => Container::SecondSecureElement,
        _ => panic!("{keys}"),
    }
}

fn pair(terminal: &mut Terminal, pairing: ProtocolPairing) -> Result<Answer, Failure> {
    terminal.command(Command::PairProtocols(pairing))
}

fn all(container: Container) -> ProtocolPairing {
    ProtocolPairing::new(|_| container, vec![0x3F00]).unwrap()
}

#[test]
fn a_new_pairing_counts_from_the_next_selection_and_reset_on() {
    let mut terminal = Terminal::new();
    assert_eq!(root(&mut terminal, Protocol::ApduGate), Container::SecureElement);
    pair(&mut terminal, all(Container::Uicc)).unwrap();
    // The issuer security domain is still selected: it knows GET DATA, the UICC does not.
    assert!(send(&mut terminal, Protocol::ApduGate, "80CA006600").starts_with("66"));
    assert_eq!(root(&mut terminal, Protocol::ApduGate), Container::Uicc);
    terminal.card().reset(Port::Apdu(Protocol::Spi));
    assert!(send(&mut terminal, Protocol::Spi, "80F2000000").starts_with("62"));
    assert!(select(&mut terminal, Protocol::Spi, PIV).ends_with("9000"));
}

#[test]
fn a_pairing_survives_the_card_s_end() {
    let mut terminal = Terminal::new();
    let wanted = ProtocolPairing::new(
        |protocol| match protocol {
            Protocol::SwpB => Container::Uicc,
            _ => Container::SecureElement,
        },
        vec![],
    )
    .unwrap();
    pair(&mut terminal, wanted.clone()).unwrap();
    let mut terminal = terminal.restarted_at_root();
    let Ok(Answer::Protocols(read)) = terminal.command(Command::ReadProtocols) else { panic!("no pairing") };
    assert_eq!(read, wanted);
    assert_eq!(root(&mut terminal, Protocol::SwpB), Container::Uicc);
    assert_eq!(root(&mut terminal, Protocol::Iso7816T1), Container::SecureElement);
}

#[test]
fn a_pairing_that_is_not_stored_does_not_count() {
    let mut terminal = Terminal::new();
    terminal.host().willing = 0;
    assert_eq!(pair(&mut terminal, all(Container::Uicc)).err(), Some(Failure::NotCommitted));
    assert_eq!(root(&mut terminal, Protocol::ApduGate), Container::SecureElement);
}

#[test]
fn shared_files_are_routed_and_others_are_the_application_s() {
    let mut terminal = Terminal::new();
    for protocol in Protocol::ALL {
        select(&mut terminal, protocol, PIV);
        let answer = send(&mut terminal, protocol, "00A40004023F00");
        let uicc = ProtocolPairing::default().container(protocol) == Container::Uicc;
        assert!(if uicc { answer.starts_with("621B") } else { answer == "6A82" }, "{protocol}: {answer}");
        assert_ne!(send(&mut terminal, protocol, "00A40004022F00"), "9000");
    }
    let unshared = ProtocolPairing::new(|protocol| ProtocolPairing::default().container(protocol), vec![]);
    pair(&mut terminal, unshared.unwrap()).unwrap();
    select(&mut terminal, Protocol::Iso7816T1, PIV);
    assert!(!send(&mut terminal, Protocol::Iso7816T1, "00A40004023F00").starts_with("62"));
}

#[test]
fn too_many_files_or_one_twice_are_no_pairing() {
    let of = |_| Container::Uicc;
    assert!(ProtocolPairing::new(of, (0..17).collect()).is_err());
    assert!(ProtocolPairing::new(of, vec![1, 2, 1]).is_err());
    assert!(ProtocolPairing::new(of, (0..16).collect()).is_ok());
}

/// The pairing in the frozen state.
fn frozen() -> ProtocolPairing {
    let of = |protocol| match protocol {
        Protocol::Spi | Protocol::Iso7816T0 => Container::Uicc,
        _ => Container::SecureElement,
    };
    ProtocolPairing::new(of, vec![0x3F00, 0x7F10]).unwrap()
}

/// Makes the fixture. Only before the first release that writes this format; from then on it stays as it is.
fn freeze() {
    let mut terminal = Terminal::new();
    pair(&mut terminal, frozen()).unwrap();
    fs::write(PATH, postcard::to_allocvec(&terminal.host().state()).unwrap()).unwrap();
}

#[test]
fn the_pairing_of_version_1_opens() {
    if env::var_os("CARDHOST_FREEZE").is_some() {
        freeze();
    }
    let state = frozen_with_keys(&fs::read(PATH).unwrap());
    let mut terminal = Terminal::start(Host::storing(state), false);
    for protocol in Protocol::ALL {
        assert_eq!(root(&mut terminal, protocol), frozen().container(protocol));
    }
}

fn container() -> impl Strategy<Value = Container> {
    prop::sample::select(vec![Container::SecureElement, Container::Uicc, Container::SecondSecureElement])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the pairing: the shared root follows it, and no other name does.
    #[test]
    fn only_shared_identifiers_follow_the_pairing(containers in prop::array::uniform6(container())) {
        let mut terminal = Terminal::new();
        let pairing = ProtocolPairing::new(|protocol| containers[protocol as usize], vec![0x3F00]).unwrap();
        pair(&mut terminal, pairing.clone()).unwrap();
        for protocol in Protocol::ALL {
            prop_assert_eq!(root(&mut terminal, protocol), pairing.container(protocol));
            prop_assert!(select(&mut terminal, protocol, EUICC_ROOT).ends_with("9000"));
            prop_assert!(select(&mut terminal, protocol, "A000000003000000").starts_with("6F4E8408A000000151"));
            prop_assert!(select(&mut terminal, protocol, PIV).starts_with("611F"));
            prop_assert_eq!(select(&mut terminal, protocol, "A00000000101"), "6A82");
        }
    }
}
