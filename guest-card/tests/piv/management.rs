//! The management key's authentications.

use cardhost_wire::tlv::object;

use crate::harness::{MANAGEMENT_KEY, Terminal, encrypted, hex};

const NEEDS_MANAGEMENT: [u8; 5] = [0xAC, 3, 0x80, 1, 0x11];

fn is_authenticated(terminal: &mut Terminal) -> bool {
    terminal.status(0xDB, 0x3F, 0xFF, &hex("5C035FC1095300")) == 0x9000
}

#[test]
fn external_authentication() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.status(0x47, 0, 0x9A, &NEEDS_MANAGEMENT), 0x6982);
    assert_eq!(terminal.authenticate_with(0x03, &MANAGEMENT_KEY), 0x9000);
    assert!(is_authenticated(&mut terminal));
    terminal.select();
    assert!(!is_authenticated(&mut terminal));
}

#[test]
fn mutual_authentication() {
    let mut terminal = Terminal::new();
    let answer = terminal.ok(0x87, 0x03, 0x9B, &hex("7C028000"));
    assert_eq!(answer[..4], hex("7C0A8008"));
    let cipher = {
        use cardhost_guest::crypto::{BlockCipher, CipherAlgorithm};
        BlockCipher::new(CipherAlgorithm::TripleDes, &MANAGEMENT_KEY).unwrap()
    };
    let mut witness = answer[4..].to_vec();
    cipher.decrypt(&mut witness).unwrap();
    let template = [object(0x80, &witness), object(0x81, &[7; 8])].concat();
    let answer = terminal.ok(0x87, 0x03, 0x9B, &object(0x7C, &template));
    assert_eq!(answer, object(0x7C, &object(0x82, &encrypted(0x03, &MANAGEMENT_KEY, &[7; 8]))));
    assert!(is_authenticated(&mut terminal));
}

#[test]
fn a_wrong_key_is_refused_and_ends_an_earlier_authentication() {
    let mut terminal = Terminal::new();
    terminal.authenticate();
    assert_eq!(terminal.authenticate_with(0x03, &[9; 24]), 0x6982);
    assert!(!is_authenticated(&mut terminal));
}

#[test]
fn a_challenge_serves_once() {
    let mut terminal = Terminal::new();
    let answer = terminal.ok(0x87, 0x03, 0x9B, &hex("7C028100"));
    let response = object(0x7C, &object(0x82, &encrypted(0x03, &MANAGEMENT_KEY, &answer[4..])));
    assert_eq!(terminal.status(0x87, 0x03, 0x9B, &response), 0x9000);
    assert_eq!(terminal.status(0x87, 0x03, 0x9B, &response), 0x6982);
    assert!(!is_authenticated(&mut terminal));
}

#[test]
fn a_failed_try_uses_the_challenge_up() {
    let mut terminal = Terminal::new();
    let answer = terminal.ok(0x87, 0x03, 0x9B, &hex("7C028100"));
    assert_eq!(terminal.status(0x87, 0x03, 0x9B, &hex("7C0A82080000000000000000")), 0x6982);
    let response = object(0x7C, &object(0x82, &encrypted(0x03, &MANAGEMENT_KEY, &answer[4..])));
    assert_eq!(terminal.status(0x87, 0x03, 0x9B, &response), 0x6982);
}

#[test]
fn a_witness_is_no_challenge() {
    let mut terminal = Terminal::new();
    let answer = terminal.ok(0x87, 0x03, 0x9B, &hex("7C028000"));
    let reflected = object(0x7C, &object(0x82, &answer[4..]));
    assert_eq!(terminal.status(0x87, 0x03, 0x9B, &reflected), 0x6982);
}

#[test]
fn the_card_encrypts_nothing_for_a_stranger() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.status(0x87, 0x03, 0x9B, &hex("7C0C810800000000000000008200")), 0x6A80);
    assert_eq!(
        terminal.status(0x87, 0x03, 0x9B, &hex("7C148008000000000000000081080000000000000000")),
        0x6982
    );
}

#[test]
fn every_cipher_can_be_set_and_authenticated() {
    let mut terminal = Terminal::new();
    let (mut algorithm, mut key) = (0x03, MANAGEMENT_KEY.to_vec());
    for (next, length) in [(0x08, 16_u8), (0x0A, 24), (0x0C, 32), (0x03, 24)] {
        assert_eq!(terminal.authenticate_with(algorithm, &key), 0x9000);
        (algorithm, key) = (next, (1..=length).collect());
        let command = [&[algorithm][..], &object(0x9B, &key)].concat();
        assert_eq!(terminal.status(0xFF, 0xFF, 0xFF, &command), 0x9000);
        terminal.select();
        assert_eq!(terminal.authenticate_with(algorithm, &MANAGEMENT_KEY.repeat(2)[..key.len()]), 0x6982);
        assert_eq!(terminal.authenticate_with(algorithm, &key), 0x9000);
    }
}

#[test]
fn bad_management_keys_are_refused() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.status(0xFF, 0xFF, 0xFF, &[&[0x08, 0x9B, 16][..], &[1; 16]].concat()), 0x6982);
    terminal.authenticate();
    for (algorithm, key) in
        [(0x08, vec![1; 24]), (0x0C, vec![1; 31]), (0x07, vec![1; 24]), (0x03, vec![1; 24])]
    {
        let command = [&[algorithm][..], &object(0x9B, &key)].concat();
        assert_eq!(terminal.status(0xFF, 0xFF, 0xFF, &command), 0x6A80, "{algorithm:02X}");
    }
    assert_eq!(terminal.status(0xFF, 0xFF, 0xFF, &[]), 0x6700);
}

#[test]
fn another_cipher_than_the_keys_is_refused_but_gives_random_bytes() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.authenticate_with(0x0C, &[0; 32]), 0x6A80);
    terminal.authenticate();
    let aes = [&[0x0C][..], &object(0x9B, &[5; 32])].concat();
    assert_eq!(terminal.status(0xFF, 0xFF, 0xFF, &aes), 0x9000);
    let first = terminal.ok(0x87, 0x00, 0x9B, &hex("7C028100"));
    let second = terminal.ok(0x87, 0x00, 0x9B, &hex("7C028100"));
    assert!(first.len() == 12 && first != second);
    assert!(is_authenticated(&mut terminal));
}
