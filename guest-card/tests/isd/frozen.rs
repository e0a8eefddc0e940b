//! Stored security domains of each release, which every later one must open.

use std::{env, fs};

use crate::{
    certificate::key,
    frozen_form::frozen_with_keys,
    harness::{Host, Terminal, hex},
    off_card::{ISSUER, OffCard, Set, put_key, select, send},
};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/domains-v1.bin");
const DOMAIN: [u8; 5] = [0xA0, 0, 0, 9, 1];
const SETS: [(u8, u8); 3] = [(0x01, 32), (0x50, 24), (0x60, 16)];

/// Makes the fixture. Only before the first release that writes this format; from then on it stays as it is.
fn freeze() {
    let mut terminal = Terminal::new();
    let mut issuer = OffCard::issuer(&mut terminal);
    for (kvn, length) in SETS {
        let data = put_key(&issuer, &Set::made_up(kvn, length)).0;
        issuer.ok(&mut terminal, [0x80, 0xD8, 0, 0x81], &data);
    }
    issuer.ok(&mut terminal, [0x80, 0xF1, 0, 0x13], &hex("01F00100"));
    let authority = [&hex("04B041")[..], key(1).public_key().as_bytes(), &hex("F0010000")].concat();
    issuer.ok(&mut terminal, [0x80, 0xD8, 0, 0x10], &authority);
    issuer.ok(&mut terminal, [0x80, 0xE2, 0x90, 0], &hex("A60A420411223344830210047003930121"));
    issuer.ok(&mut terminal, [0x80, 0xE2, 0x90, 0], &hex("A60483021301BF21023000420307080945010A"));
    let instance = hex("07A000000151535008A00000015153504105A00000090101800000");
    issuer.ok(&mut terminal, [0x80, 0xE6, 0x0C, 0], &instance);
    issuer.ok(&mut terminal, [0x80, 0xF0, 0x40, 0x80], &DOMAIN);
    fs::write(PATH, postcard::to_allocvec(&terminal.host().state()).unwrap()).unwrap();
}

#[test]
fn the_domains_of_version_1_open_and_work() {
    if env::var_os("CARDHOST_FREEZE").is_some() {
        freeze();
    }
    let state = frozen_with_keys(&fs::read(PATH).unwrap());
    let mut terminal = Terminal::start(Host::storing(state), false);
    select(&mut terminal, &ISSUER);
    for (command, expected) in [
        ("00CA004200", "070809"),
        ("00CA004500", "0A"),
        ("00CAFF3300", "42041122334483021004"),
        ("00CABF2106A6048302130100", "3000"),
        ("80CA00C100", "C103000001"),
    ] {
        assert_eq!(terminal.transmit(&hex(command)), [hex(expected), hex("9000")].concat(), "{command}");
    }
    let keys = send(&mut terminal, [0, 0xCA, 0, 0xE0], &[]).0;
    assert!(keys.ends_with(&hex("C0061301B120F001C0061004B041F001")));
    for (kvn, length) in SETS {
        OffCard::issuer_with(&mut terminal, &Set::made_up(kvn, length)).unwrap();
    }
    assert_eq!(select(&mut terminal, &DOMAIN), 0x6A82);
    let mut issuer = OffCard::issuer(&mut terminal);
    assert_eq!(issuer.status(&mut terminal, [0x80, 0xF0, 0x40, 0x07], &DOMAIN), 0x9000);
    assert_eq!(select(&mut terminal, &DOMAIN), 0x9000);
}
