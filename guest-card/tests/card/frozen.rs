//! The stored state of each release, which every later one must open.

use std::{env, fs};

use cardhost_wire::{
    control::Credential,
    key::{Algorithm, KeyReference},
};

use crate::{
    frozen_form::frozen_with_keys,
    harness::{Host, PIN, PUK, Terminal, hex},
};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/card-v1.bin");
const MANAGEMENT_KEY: [u8; 32] = [0x42; 32];
const NEW_PIN: &[u8] = b"654321\xFF\xFF";
const WRONG: &[u8] = b"000000\xFF\xFF";
/// Printed information, of some made-up text.
const PRINTED: &str = "5C035FC1095306010466726565";
const KEYS: [(u8, Algorithm); 4] =
    [(0x9A, Algorithm::P256), (0x9C, Algorithm::P384), (0x9D, Algorithm::Rsa2048), (0x82, Algorithm::P256)];

const fn identifier(algorithm: Algorithm) -> (u8, usize) {
    match algorithm {
        Algorithm::P256 => (0x11, 32),
        Algorithm::P384 => (0x14, 48),
        Algorithm::Rsa2048 => (0x07, 256),
        Algorithm::Rsa3072 => (0x05, 384),
    }
}

/// Makes the fixture. Only before the first release that writes this format; from then on it stays as it is.
fn freeze() {
    let mut terminal = Terminal::new();
    terminal.authenticate();
    for (slot, algorithm) in KEYS {
        terminal.generate(slot, identifier(algorithm).0);
    }
    terminal.ok(0xDB, 0x3F, 0xFF, &hex(PRINTED));
    terminal.ok(0xFF, 0xFF, 0xFF, &[&[0x0C, 0x9B, 32][..], &MANAGEMENT_KEY].concat());
    terminal.ok(0x24, 0, 0x80, &[PIN, NEW_PIN].concat());
    assert_eq!(terminal.verify(WRONG), 0x63C2);
    fs::write(PATH, postcard::to_allocvec(&terminal.host().state()).unwrap()).unwrap();
}

#[test]
fn the_state_of_version_1_opens_and_works() {
    if env::var_os("CARDHOST_FREEZE").is_some() {
        freeze();
    }
    let state = frozen_with_keys(&fs::read(PATH).unwrap());
    let (epoch, credentials) = (state.epoch, state.credentials.clone());
    let mut terminal = Terminal::start(Host::storing(state), false);
    assert_eq!(terminal.started().epoch, epoch);
    assert_eq!(terminal.started().credentials, credentials);
    check_keys(&mut terminal);
    assert_eq!(terminal.status(0x2C, 0, 0x80, &[PUK, PIN].concat()), 0x9000);
    assert_eq!(terminal.authenticate_with(0x0C, &MANAGEMENT_KEY), 0x9000);
    terminal.generate(0x9E, 0x11);
    assert!(terminal.restarted().started().epoch > epoch);
}

fn check_keys(terminal: &mut Terminal) {
    assert_eq!(terminal.pin_status(), 0x63C2);
    for (slot, algorithm) in KEYS {
        let mut told = terminal.started().credentials.iter().filter_map(Credential::key);
        let told = told.any(|key| key.key_reference == KeyReference(slot) && key.algorithm == algorithm);
        assert!(told, "{slot:02X}");
        assert_eq!(terminal.verify(NEW_PIN), 0x9000);
        let (identifier, length) = identifier(algorithm);
        assert!(terminal.use_key(identifier, slot, 0x81, &vec![7; length]).is_ok(), "{slot:02X}");
    }
    assert_eq!(terminal.ok(0xCB, 0x3F, 0xFF, &hex("5C035FC109")), hex("5306010466726565"));
}
