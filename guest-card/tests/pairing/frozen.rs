//! Stored pairings of each release, which every later one must open.

use std::{env, fs};

use cardhost_wire::{
    control::{Commit, Failure},
    pairing::{PairingCommand, PairingPolicy},
};

use crate::{
    authority::{AUTHORITY, List, certified, command, hand_over, read, request, requested_point},
    device::{Device, authenticate, certificate, select, serial},
    harness::{Host, Terminal},
    off_card::Set,
};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/pairing-v1.bin");
const NUMBERS: [u8; 3] = [1, 2, 15];

/// Makes the fixture. Only before the first release that writes this format; from then on it stays as it is.
fn freeze() {
    let mut terminal = certified();
    for number in NUMBERS {
        Device::new(number).pair(&mut terminal, 0x60 + number).unwrap();
    }
    List::new(3, &[&serial(4), &[0x09]]).deliver(&mut terminal).unwrap();
    command(&mut terminal, PairingCommand::SetPolicy(PairingPolicy::PairedOnly)).unwrap();
    fs::write(PATH, postcard::to_allocvec(&terminal.host().state()).unwrap()).unwrap();
}

#[test]
fn the_pairings_of_version_1_open_and_work() {
    if env::var_os("CARDHOST_FREEZE").is_some() {
        freeze();
    }
    let state: Commit = postcard::from_bytes(&fs::read(PATH).unwrap()).unwrap();
    let mut terminal = Terminal::start_at_root(Host::storing(state), false);
    let told = read(&mut terminal);
    assert_eq!((told.certified, told.policy, told.revocations), (true, PairingPolicy::PairedOnly, Some(3)));
    for (pairing, number) in told.pairings.iter().zip(NUMBERS) {
        assert_eq!((pairing.kvn, &pairing.terminal), (0x60 + number, &format!("terminal-{number}")));
        assert_eq!(pairing.serial, serial(number)[1..]);
        authenticate(&mut terminal, &Set::made_up(pairing.kvn, 16)).unwrap();
    }
    assert_eq!(told.pairings.len(), NUMBERS.len());
    // Cards and terminals had one authority then.
    assert_eq!(Device::new(4).trusting(AUTHORITY).set_up(&mut terminal).err(), Some(0x6982), "revoked");
    // The receipt and the certificate are of one key, and it is the one that requests are for.
    Device::new(5).trusting(AUTHORITY).pair(&mut terminal, 0x65).unwrap();
    let request = request(&mut terminal);
    select(&mut terminal);
    let certificate = certificate(&mut terminal).unwrap();
    assert_eq!(requested_point(&request), requested_point(&certificate));
    assert_eq!(List::new(2, &[]).deliver(&mut terminal).err(), Some(Failure::Outdated));
    // The one goes on as the terminals', and the card is certified again by its own.
    hand_over(&mut terminal, &request, AUTHORITY).unwrap();
    Device::new(6).pair(&mut terminal, 0x66).unwrap();
    authenticate(&mut terminal, &Set::made_up(0x65, 16)).unwrap();
}
