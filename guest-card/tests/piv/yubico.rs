//! Yubico's instructions.

use cardhost_wire::tlv::{find, object};
use der::{Decode, Encode};
use p256::ecdsa::signature::Verifier;
use x509_cert::Certificate;

use crate::harness::{PIN, PUK, Terminal, hex};

const WRONG: &[u8] = b"000000\xFF\xFF";

fn tags(bytes: &[u8], wanted: &[u32]) -> Vec<Vec<u8>> {
    wanted.iter().map(|tag| find(bytes, *tag).unwrap().unwrap().to_vec()).collect()
}

#[test]
fn version_and_serial() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.ok(0xFD, 0, 0, &[]), [5, 4, 3]);
    let serial = terminal.ok(0xF8, 0, 0, &[]);
    assert_eq!(serial.len(), 4);
    assert_eq!(terminal.restarted().ok(0xF8, 0, 0, &[]), serial);
}

#[test]
fn metadata_of_pin_puk_and_management_key() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.ok(0xF7, 0, 0x80, &[]), hex("0101FF05010106020303"));
    assert_eq!(terminal.ok(0xF7, 0, 0x81, &[]), hex("0101FF05010106020303"));
    assert_eq!(terminal.ok(0xF7, 0, 0x9B, &[]), hex("01010302020001050101"));
    terminal.verify(WRONG);
    terminal.ok(0x24, 0, 0x81, &[PUK, b"87654321"].concat());
    assert_eq!(terminal.ok(0xF7, 0, 0x80, &[]), hex("0101FF05010106020302"));
    assert_eq!(terminal.ok(0xF7, 0, 0x81, &[]), hex("0101FF05010006020303"));
}

#[test]
fn metadata_of_keys() {
    let mut terminal = Terminal::new();
    terminal.authenticate();
    for (reference, algorithm, policy) in [(0x9A, 0x11, 2), (0x9C, 0x14, 3), (0x9E, 0x07, 1), (0x82, 0x05, 2)]
    {
        assert_eq!(terminal.status(0xF7, 0, reference, &[]), 0x6A88);
        let public = terminal.generate(reference, algorithm);
        let metadata = terminal.ok(0xF7, 0, reference, &[]);
        let [found, policies, origin, key] = tags(&metadata, &[1, 2, 3, 4]).try_into().unwrap();
        assert_eq!((found, policies, origin, key), (vec![algorithm], vec![policy, 1], vec![1], public));
    }
    for reference in [0x00, 0x96, 0xF9, 0xFF] {
        assert_eq!(terminal.status(0xF7, 0, reference, &[]), 0x6A88);
    }
}

#[test]
fn an_attestation_verifies_under_the_attestation_key() {
    let mut terminal = Terminal::new();
    terminal.authenticate();
    for (reference, algorithm) in [(0x9A, 0x11), (0x9C, 0x14), (0x9E, 0x07)] {
        let public = terminal.generate(reference, algorithm);
        let attested = Certificate::from_der(&terminal.ok(0xF9, reference, 0, &[])).unwrap();
        let object = terminal.ok(0xCB, 0x3F, 0xFF, &hex("5C035FFF01"));
        let issuer = find(find(&object, 0x53).unwrap().unwrap(), 0x70).unwrap().unwrap();
        let issuer = Certificate::from_der(issuer).unwrap();
        check_signature(&attested, &issuer);
        check_signature(&issuer, &issuer);
        let key = attested.tbs_certificate().subject_public_key_info();
        let last = public[public.len() - 20..].to_vec();
        let found = key.subject_public_key.raw_bytes();
        assert!(algorithm == 0x07 || found.ends_with(&last));
    }
}

fn check_signature(certificate: &Certificate, issuer: &Certificate) {
    let key = issuer.tbs_certificate().subject_public_key_info();
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key.subject_public_key.raw_bytes()).unwrap();
    let signature = p256::ecdsa::DerSignature::from_bytes(certificate.signature().raw_bytes()).unwrap();
    key.verify(&certificate.tbs_certificate().to_der().unwrap(), &signature).unwrap();
    assert_eq!(certificate.tbs_certificate().issuer(), issuer.tbs_certificate().subject());
}

#[test]
fn an_attestation_tells_version_serial_and_policies() {
    let mut terminal = Terminal::new();
    terminal.authenticate();
    terminal.generate(0x9C, 0x11);
    let serial = terminal.ok(0xF8, 0, 0, &[]);
    let attested = Certificate::from_der(&terminal.ok(0xF9, 0x9C, 0, &[])).unwrap();
    let extensions = attested.tbs_certificate().extensions().unwrap();
    let value = |oid: &str| {
        let found = extensions.iter().find(|extension| extension.extn_id.to_string() == oid).unwrap();
        found.extn_value.as_bytes().to_vec()
    };
    assert_eq!(value("1.3.6.1.4.1.41482.3.3"), [5, 4, 3]);
    assert_eq!(value("1.3.6.1.4.1.41482.3.7"), object(2, &serial));
    assert_eq!(value("1.3.6.1.4.1.41482.3.8"), [3, 1]);
}

#[test]
fn there_is_nothing_to_attest_in_an_empty_slot() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.status(0xF9, 0x9A, 0, &[]), 0x6A88);
    assert_eq!(terminal.status(0xF9, 0x9B, 0, &[]), 0x6A86);
}

#[test]
fn new_counters_bring_the_well_known_values_back() {
    let mut terminal = Terminal::new();
    terminal.ok(0x24, 0, 0x80, &[PIN, b"654321\xFF\xFF"].concat());
    assert_eq!(terminal.status(0xFA, 5, 4, &[]), 0x6982);
    terminal.authenticate();
    assert_eq!(terminal.status(0xFA, 5, 4, &[]), 0x6982);
    assert_eq!(terminal.verify(b"654321\xFF\xFF"), 0x9000);
    assert_eq!(terminal.status(0xFA, 0, 4, &[]), 0x6A86);
    assert_eq!(terminal.status(0xFA, 5, 4, &[]), 0x9000);
    assert_eq!(terminal.pin_status(), 0x63C5);
    assert_eq!(terminal.verify(PIN), 0x9000);
    assert_eq!(terminal.ok(0xF7, 0, 0x81, &[]), hex("0101FF05010106020404"));
}

#[test]
fn keys_move_to_empty_slots_and_are_erased() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.status(0xF6, 0x82, 0x9A, &[]), 0x6982);
    terminal.authenticate();
    assert_eq!(terminal.status(0xF6, 0x82, 0x9A, &[]), 0x6A88);
    let public = terminal.generate(0x9A, 0x11);
    terminal.generate(0x9D, 0x11);
    assert_eq!(terminal.status(0xF6, 0x9D, 0x9A, &[]), 0x6985);
    assert_eq!(terminal.status(0xF6, 0x9B, 0x9A, &[]), 0x6A86);
    assert_eq!(terminal.status(0xF6, 0x9A, 0x9A, &[]), 0x6A86);
    assert_eq!(terminal.status(0xF6, 0x82, 0x9A, &[]), 0x9000);
    assert!(terminal.ok(0xF7, 0, 0x82, &[]).ends_with(&public));
    assert_eq!(terminal.status(0xF7, 0, 0x9A, &[]), 0x6A88);
    assert_eq!(terminal.status(0xF6, 0xFF, 0x82, &[]), 0x9000);
    assert_eq!(terminal.use_key(0x11, 0x82, 0x81, &[7; 32]), Err(0x6A80));
    assert_eq!(terminal.credentials().len(), 1);
}

#[test]
fn keys_from_outside_are_refused() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.status(0xFE, 0x11, 0x9A, &object(6, &[1; 32])), 0x6982);
    terminal.authenticate();
    assert_eq!(terminal.status(0xFE, 0x11, 0x9A, &object(6, &[1; 32])), 0x6985);
}

#[test]
fn reset_wants_both_blocked_and_leaves_nothing() {
    let mut terminal = Terminal::new();
    terminal.authenticate();
    terminal.generate(0x9A, 0x11);
    terminal.ok(0xDB, 0x3F, 0xFF, &hex("5C035FC1055301AA"));
    assert_eq!(terminal.status(0xFB, 0, 0, &[]), 0x6985);
    while terminal.verify(WRONG) != 0x6983 {}
    assert_eq!(terminal.status(0xFB, 0, 0, &[]), 0x6985);
    while terminal.status(0x2C, 0, 0x80, &[WRONG, PIN].concat()) != 0x6983 {}
    assert_eq!(terminal.status(0xFB, 0, 0, &[]), 0x9000);
    assert!(terminal.credentials().is_empty());
    assert_eq!(terminal.status(0xF7, 0, 0x9A, &[]), 0x6A88);
    assert_eq!(terminal.status(0xCB, 0x3F, 0xFF, &hex("5C035FC105")), 0x6A82);
    assert_eq!(terminal.status(0xDB, 0x3F, 0xFF, &hex("5C035FC1055301AA")), 0x6982);
    assert_eq!(terminal.verify(PIN), 0x9000);
    terminal.authenticate();
}
