//! What happens when the host does not store a change, or the power goes: nothing is half done.

use cardhost_wire::{
    control::Failure,
    pairing::{PairingCommand, PairingPolicy},
};

use crate::{
    authority::{AUTHORITY, CARDS, List, certification, certified, certify_card, command, read, request},
    certificate::name,
    device::{Device, authenticate, serial},
    harness::{Host, PIN, Terminal, hex},
    off_card::Set,
};

#[test]
fn a_command_that_is_not_durable_is_not_done() {
    let mut terminal = certified();
    let set = Device::new(1).pair(&mut terminal, 0x60).unwrap();
    let mut session = authenticate(&mut terminal, &set).unwrap();
    let before = terminal.host().records();
    terminal.host().willing = 0;
    for asked in [
        PairingCommand::Delete(0x60),
        PairingCommand::SetPolicy(PairingPolicy::PairedOnly),
        PairingCommand::Revoke(List::new(1, &[&serial(1)]).signed()),
    ] {
        assert_eq!(command(&mut terminal, asked).err(), Some(Failure::NotCommitted));
    }
    assert!(session.send(&mut terminal, &[0, 0xA4, 4, 0]).is_ok(), "the session goes on");
    let told = read(&mut terminal);
    assert_eq!((told.pairings.len(), told.policy, told.revocations), (1, PairingPolicy::Open, None));
    assert!(terminal.host().records() == before);
}

#[test]
fn a_key_or_certificate_that_is_not_durable_is_not_there() {
    let mut terminal = Terminal::new();
    terminal.host().willing = 0;
    let asked = || PairingCommand::Request(name("card"));
    assert_eq!(command(&mut terminal, asked()).err(), Some(Failure::NotCommitted));
    terminal.host().willing = 1;
    let request = request(&mut terminal);
    let certify = certification(certify_card(&request, CARDS), CARDS, AUTHORITY);
    assert_eq!(command(&mut terminal, certify).err(), Some(Failure::NotCommitted));
    assert!(!read(&mut terminal).certified);
    assert_eq!(Device::new(1).set_up(&mut terminal).err(), Some(0x6A88));
}

/// From a card with one pairing to the same terminal's next, with the power cut after each of the commits on the way.
#[test]
fn a_power_cut_leaves_the_pairing_before_or_the_one_after() {
    let mut terminal = certified();
    Device::new(1).pair(&mut terminal, 0x60).unwrap();
    let stored = terminal.host().clone();
    let mut outcomes = Vec::new();
    for willing in 0..=2 {
        let mut terminal = after_repairing(stored.clone(), willing);
        let versions: Vec<u8> = read(&mut terminal).pairings.iter().map(|pairing| pairing.kvn).collect();
        for kvn in [0x60, 0x61] {
            let opened = authenticate(&mut terminal, &Set::made_up(kvn, 16)).is_ok();
            assert_eq!(opened, versions.contains(&kvn), "{willing}");
        }
        Device::new(1).pair(&mut terminal, 0x62).unwrap();
        assert_eq!(read(&mut terminal).pairings.len(), 1);
        outcomes.push(versions);
    }
    assert_eq!(outcomes, [[0x60], [0x60], [0x61]], "the try, and the pairing");
}

/// The card after a power cut, once its host has stored so many commits of another set-up.
fn after_repairing(stored: Host, willing: usize) -> Terminal {
    let mut terminal = Terminal::start(stored, false);
    terminal.host().willing = willing;
    let mut session = Device::new(1).set_up(&mut terminal).unwrap();
    session.verify(&mut terminal, PIN);
    let done = session.put_key(&mut terminal, &Set::made_up(0x61, 16)).is_ok();
    assert_eq!(done, willing == 2);
    terminal.restarted()
}

/// What the card offers to store and what it answers are as long after a right PIN as after a wrong one.
#[test]
fn the_host_does_not_learn_whether_the_pin_was_right() {
    let seen = |pin: &[u8], expected: u16| {
        let mut terminal = certified();
        let mut session = Device::new(1).set_up(&mut terminal).unwrap();
        terminal.host().offered.clear();
        let verify = session.wrap(&[&hex("0020008008")[..], pin].concat());
        let answer = terminal.transmit_in_plain(&verify);
        assert_eq!(session.unwrap(&answer), Ok(expected.to_be_bytes().to_vec()));
        (verify.len(), terminal.host().offered.clone(), answer.len())
    };
    let right = seen(PIN, 0x9000);
    assert_eq!((seen(b"000000\xFF\xFF", 0x63C2), right.1.len()), (right, 1));
}

#[test]
fn a_power_cut_leaves_a_whole_list_with_what_it_ends() {
    let mut terminal = certified();
    for number in [1, 2] {
        Device::new(number).pair(&mut terminal, 0x60 + number).unwrap();
    }
    for (willing, versions, number) in [(0, vec![0x61, 0x62], None), (1, vec![0x62], Some(1))] {
        let mut terminal = Terminal::start(terminal.host().clone(), false);
        terminal.host().willing = willing;
        drop(List::new(1, &[&serial(1)]).deliver(&mut terminal));
        let told = read(&mut terminal.restarted());
        let kvns: Vec<u8> = told.pairings.iter().map(|pairing| pairing.kvn).collect();
        assert_eq!((kvns, told.revocations), (versions, number));
    }
}
