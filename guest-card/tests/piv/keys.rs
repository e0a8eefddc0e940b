//! Generating and using asymmetric keys.

use cardhost_guest::crypto::PrivateKey;
use cardhost_wire::{
    key::Algorithm,
    tlv::{find, object},
};
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use rsa::{BoxedUint, RsaPublicKey};

use crate::harness::{PIN, Terminal};

fn prepared() -> Terminal {
    let mut terminal = Terminal::new();
    terminal.authenticate();
    terminal
}

#[test]
fn p256_signs_what_the_public_key_verifies() {
    let mut terminal = prepared();
    let public = terminal.generate(0x9A, 0x11);
    let point = find(&public, 0x86).unwrap().unwrap();
    assert_eq!(terminal.verify(PIN), 0x9000);
    let signature = terminal.use_key(0x11, 0x9A, 0x81, &[7; 32]).unwrap();
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).unwrap();
    key.verify_prehash(&[7; 32], &p256::ecdsa::Signature::from_der(&signature).unwrap()).unwrap();
}

#[test]
fn p384_signs_what_the_public_key_verifies() {
    let mut terminal = prepared();
    let public = terminal.generate(0x9E, 0x14);
    let point = find(&public, 0x86).unwrap().unwrap();
    let signature = terminal.use_key(0x14, 0x9E, 0x81, &[7; 48]).unwrap();
    let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(point).unwrap();
    key.verify_prehash(&[7; 48], &p384::ecdsa::Signature::from_der(&signature).unwrap()).unwrap();
}

#[test]
fn rsa_is_undone_by_the_public_key() {
    let mut terminal = prepared();
    for (algorithm, length) in [(0x07, 256), (0x05, 384)] {
        let public = terminal.generate(0x9E, algorithm);
        let modulus = find(&public, 0x81).unwrap().unwrap();
        assert_eq!((modulus.len(), find(&public, 0x82).unwrap()), (length, Some(&[1, 0, 1][..])));
        let mut message = vec![0x5A; length];
        message[0] = 0;
        let signed = terminal.use_key(algorithm, 0x9E, 0x81, &message).unwrap();
        let key = RsaPublicKey::new(BoxedUint::from_be_slice_vartime(modulus), BoxedUint::from(65_537_u32));
        let signed = BoxedUint::from_be_slice(&signed, length as u32 * 8).unwrap();
        assert_eq!(rsa::hazmat::rsa_encrypt(&key.unwrap(), &signed).unwrap().to_be_bytes()[..], message);
        assert_eq!(terminal.use_key(algorithm, 0x9E, 0x81, &message[1..]), Err(0x6A80));
        assert_eq!(terminal.use_key(algorithm, 0x9E, 0x81, &vec![0xFF; length]), Err(0x6A80));
        assert_eq!(terminal.use_key(algorithm, 0x9E, 0x85, &message), Err(0x6A80));
    }
}

#[test]
fn ecdh_gives_both_sides_the_same_secret() {
    let mut terminal = prepared();
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    for (identifier, algorithm) in [(0x11, Algorithm::P256), (0x14, Algorithm::P384)] {
        let public = terminal.generate(0x9D, identifier);
        let point = find(&public, 0x86).unwrap().unwrap();
        assert_eq!(terminal.verify(PIN), 0x9000);
        let peer = PrivateKey::generate(algorithm, &mut rng).unwrap();
        let shared = terminal.use_key(identifier, 0x9D, 0x85, peer.public_key().as_bytes()).unwrap();
        assert_eq!(*peer.agree(point).unwrap(), shared);
    }
}

#[test]
fn bad_points_and_digests_are_refused() {
    let mut terminal = prepared();
    let public = terminal.generate(0x9E, 0x11);
    let mut point = find(&public, 0x86).unwrap().unwrap().to_vec();
    point[64] ^= 1;
    assert_eq!(terminal.use_key(0x11, 0x9E, 0x85, &point), Err(0x6A80));
    assert_eq!(terminal.use_key(0x11, 0x9E, 0x85, &point[..64]), Err(0x6A80));
    assert_eq!(terminal.use_key(0x11, 0x9E, 0x85, &[]), Err(0x6A80));
    for length in [0, 1, 31, 33, 65] {
        assert_eq!(terminal.use_key(0x11, 0x9E, 0x81, &vec![1; length]), Err(0x6A80), "{length}");
    }
}

#[test]
fn pin_policies_of_the_slots() {
    let mut terminal = prepared();
    for reference in [0x9A, 0x9C, 0x9D, 0x9E, 0x82, 0x95] {
        terminal.generate(reference, 0x11);
    }
    for reference in [0x9A, 0x9C, 0x9D, 0x82, 0x95] {
        assert_eq!(terminal.use_key(0x11, reference, 0x81, &[7; 32]), Err(0x6982), "{reference:02X}");
    }
    assert!(terminal.use_key(0x11, 0x9E, 0x81, &[7; 32]).is_ok());
    assert_eq!(terminal.verify(PIN), 0x9000);
    for reference in [0x9A, 0x9A, 0x9D, 0x82, 0x95] {
        assert!(terminal.use_key(0x11, reference, 0x81, &[7; 32]).is_ok(), "{reference:02X}");
    }
}

#[test]
fn the_signature_key_wants_the_pin_right_before_each_use() {
    let mut terminal = prepared();
    terminal.generate(0x9C, 0x11);
    terminal.generate(0x9A, 0x11);
    assert_eq!(terminal.verify(PIN), 0x9000);
    assert!(terminal.use_key(0x11, 0x9C, 0x81, &[7; 32]).is_ok());
    assert_eq!(terminal.use_key(0x11, 0x9C, 0x81, &[7; 32]), Err(0x6982));
    assert!(terminal.use_key(0x11, 0x9A, 0x81, &[7; 32]).is_ok());
    assert_eq!(terminal.verify(PIN), 0x9000);
    assert!(terminal.use_key(0x11, 0x9A, 0x81, &[7; 32]).is_ok());
    assert_eq!(terminal.use_key(0x11, 0x9C, 0x81, &[7; 32]), Err(0x6982));
}

#[test]
fn policies_named_at_generation() {
    let mut terminal = prepared();
    let never = [0xAC, 9, 0x80, 1, 0x11, 0xAA, 1, 1, 0xAB, 1, 1];
    terminal.ok(0x47, 0, 0x9A, &never);
    assert!(terminal.use_key(0x11, 0x9A, 0x81, &[7; 32]).is_ok());
    assert_eq!(terminal.ok(0xF7, 0, 0x9A, &[])[3..7], [2, 2, 1, 1]);
    for bad in [[0xAA, 1, 4], [0xAB, 1, 4], [0xAD, 1, 0]] {
        let template = [&[0x80, 1, 0x11][..], &bad].concat();
        assert_eq!(terminal.status(0x47, 0, 0x9A, &object(0xAC, &template)), 0x6A80);
    }
}

#[test]
fn what_cannot_be_generated() {
    let mut terminal = prepared();
    for algorithm in [0x00, 0x03, 0x06, 0x16, 0x2E, 0xE0] {
        assert_eq!(terminal.status(0x47, 0, 0x9A, &[0xAC, 3, 0x80, 1, algorithm]), 0x6A80);
    }
    for reference in [0x00, 0x80, 0x81, 0x96, 0x9B, 0x9F, 0xF9] {
        assert_eq!(terminal.status(0x47, 0, reference, &[0xAC, 3, 0x80, 1, 0x11]), 0x6A86);
    }
    for template in [&[][..], &[0xAC, 0], &[0xAC, 4, 0x80, 1, 0x11], &[0xAC, 3, 0x80, 1, 0x11, 0]] {
        assert_eq!(terminal.status(0x47, 0, 0x9A, template), 0x6A80);
    }
}

#[test]
fn an_absent_key_and_another_algorithm_are_refused() {
    let mut terminal = prepared();
    terminal.generate(0x9E, 0x11);
    assert_eq!(terminal.use_key(0x11, 0x9A, 0x81, &[7; 32]), Err(0x6A80));
    assert_eq!(terminal.use_key(0x14, 0x9E, 0x81, &[7; 48]), Err(0x6A80));
    assert_eq!(terminal.use_key(0x13, 0x9E, 0x81, &[7; 48]), Err(0x6A86));
    assert_eq!(terminal.use_key(0x11, 0x99, 0x81, &[7; 32]), Err(0x6A86));
}

#[test]
fn a_new_key_takes_the_place_of_the_old_one_and_survives_a_restart() {
    let mut terminal = prepared();
    let first = terminal.generate(0x9E, 0x11);
    let before = terminal.host().credentials.clone();
    let second = terminal.generate(0x9E, 0x11);
    assert_ne!(first, second);
    assert_ne!(before, terminal.host().credentials);
    let mut terminal = terminal.restarted();
    let signature = terminal.use_key(0x11, 0x9E, 0x81, &[7; 32]).unwrap();
    let point = find(&second, 0x86).unwrap().unwrap();
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).unwrap();
    key.verify_prehash(&[7; 32], &p256::ecdsa::Signature::from_der(&signature).unwrap()).unwrap();
}

#[test]
fn credentials_are_the_users_keys() {
    let mut terminal = prepared();
    for reference in [0x9A, 0x95, 0x82] {
        terminal.generate(reference, 0x11);
    }
    terminal.ok(0xF9, 0x9A, 0, &[]);
    let references: Vec<u8> = terminal.credentials().into_iter().map(|reference| reference.0).collect();
    assert_eq!(references, [0x82, 0x95, 0x9A]);
}
