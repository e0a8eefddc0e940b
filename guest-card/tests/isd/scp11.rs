//! SCP11a, SCP11b and SCP11c by an off-card entity of the tests' own; real clients run beside in `tests/clients`.

use cardhost_guest::crypto::{AesKey, PrivateKey};
use cardhost_wire::tlv::{TlvReader, object};
use sha2::{Digest, Sha256};

use crate::{
    certificate::{Use, certificate, key},
    harness::{PIN, Terminal, hex},
    off_card::{ISSUER, OffCard, Set, put_key, select, send},
};

const CA_KVN: u8 = 0x04;
const SERIAL: u8 = 0x21;
const STATUS: [u8; 4] = [0x80, 0xF2, 0x40, 0x02];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    A,
    B,
    C,
}

impl Variant {
    /// Key identifier, the parameter of `90`, and the instruction.
    const fn numbers(self) -> (u8, u8, u8) {
        match self {
            Self::A => (0x11, 0x01, 0x82),
            Self::B => (0x13, 0x00, 0x88),
            Self::C => (0x15, 0x03, 0x82),
        }
    }
}

fn ca() -> PrivateKey {
    key(1)
}

fn off_card_key() -> PrivateKey {
    key(3)
}

/// A card with a key for each variant (all of version 1) and the authority's key; the points of the three.
fn prepared() -> (Terminal, [Vec<u8>; 3]) {
    let mut terminal = Terminal::new();
    let mut issuer = OffCard::issuer(&mut terminal);
    let points = [Variant::A, Variant::B, Variant::C].map(|variant| {
        let answer = issuer.ok(&mut terminal, [0x80, 0xF1, 0, variant.numbers().0], &hex("01F00100"));
        cardhost_wire::tlv::only(&answer, 0xB0).unwrap().to_vec()
    });
    let authority = object(0xB0, ca().public_key().as_bytes());
    let put = [&[CA_KVN][..], &authority, &hex("F0010000")].concat();
    assert_eq!(issuer.ok(&mut terminal, [0x80, 0xD8, 0, 0x10], &put), [CA_KVN]);
    assert_eq!(select(&mut terminal, &ISSUER), 0x9000);
    (terminal, points)
}

fn chain() -> Vec<Vec<u8>> {
    let middle = key(2);
    vec![
        certificate(0x20, &middle, Use::LastAuthority, &ca()),
        certificate(SERIAL, &off_card_key(), Use::Agreement, &middle),
    ]
}

/// PERFORM SECURITY OPERATION with each certificate; the last status word.
fn certify(terminal: &mut Terminal, chain: &[Vec<u8>]) -> u16 {
    let mut status = 0;
    for (at, certificate) in chain.iter().enumerate() {
        let more = if at + 1 < chain.len() { 0x80 } else { 0 };
        status = send(terminal, [0x80, 0x2A, CA_KVN, 0x10 | more], certificate).1;
    }
    status
}

fn agreement(parameter: u8, usage: u8, length: u8) -> Vec<u8> {
    let template =
        [&[0x90, 2, 0x11, parameter][..], &[0x95, 1, usage, 0x80, 1, 0x88, 0x81, 1, length]].concat();
    [object(0xA6, &template), object(0x5F49, key(4).public_key().as_bytes())].concat()
}

/// MUTUAL or INTERNAL AUTHENTICATE; the channel, its receipt verified.
fn agree(
    terminal: &mut Terminal,
    variant: Variant,
    card: &[u8],
    usage: u8,
    length: u8,
) -> Result<OffCard, u16> {
    let (kid, parameter, ins) = variant.numbers();
    let data = agreement(parameter, usage, length);
    let (answer, status) = send(terminal, [0x80, ins, 1, kid], &data);
    if status != 0x9000 {
        return Err(status);
    }
    let mut reader = TlvReader::new(&answer);
    let (_, point) = reader.next_object().unwrap().unwrap();
    let (tag, receipt) = reader.next_object().unwrap().unwrap();
    assert_eq!((tag, variant == Variant::C), (0x86, point == card));
    let fixed = if variant == Variant::B { key(4) } else { off_card_key() };
    let secret = [&key(4).agree(point).unwrap()[..], &fixed.agree(card).unwrap()].concat();
    let keys = derived(&secret, &[usage, 0x88, length]);
    let mut keys = keys.chunks(length.into()).map(|key| AesKey::new(key).unwrap());
    let covered = [&data[..], &object(0x5F49, point)].concat();
    assert_eq!(keys.next().unwrap().cmac(&[&covered]), receipt);
    let keys = [(); 4].map(|()| keys.next().unwrap());
    Ok(OffCard::new(keys, usage_level(usage), receipt.try_into().unwrap(), 8, 0))
}

fn derived(secret: &[u8], shared: &[u8; 3]) -> Vec<u8> {
    let blocks = (1u32..=5)
        .flat_map(|counter| Sha256::digest([secret, &counter.to_be_bytes(), shared].concat()).to_vec());
    blocks.take(5 * usize::from(shared[2])).collect()
}

const fn usage_level(usage: u8) -> u8 {
    if usage == 0x3C { 0x33 } else { 0x11 }
}

#[test]
fn each_variant_opens_a_channel_with_every_key_length_and_protection() {
    let (mut terminal, points) = prepared();
    for (variant, card) in [Variant::A, Variant::B, Variant::C].into_iter().zip(&points) {
        for (usage, length) in [(0x3C, 16), (0x3C, 24), (0x3C, 32), (0x34, 16)] {
            assert_eq!(certify(&mut terminal, &chain()), 0x9000);
            let mut off_card = agree(&mut terminal, variant, card, usage, length).unwrap();
            assert!(off_card.ok(&mut terminal, [0x80, 0xCA, 0, 0xE0], &[]).starts_with(&[0xE0]));
            let managed = off_card.status(&mut terminal, STATUS, &[0x4F, 0]);
            let expected = if variant == Variant::B { 0x6982 } else { 0x9000 };
            assert_eq!(managed, expected, "{variant:?}");
        }
    }
}

/// The set-up of a pairing: SCP11a, and in its channel a fresh SCP03 set with random challenges.
#[test]
fn keys_are_put_through_scp11a() {
    let (mut terminal, points) = prepared();
    assert_eq!(certify(&mut terminal, &chain()), 0x9000);
    let mut off_card = agree(&mut terminal, Variant::A, &points[0], 0x3C, 16).unwrap();
    let pairing = Set::made_up(0x60, 32);
    let (data, answer) = put_key(&off_card, &pairing);
    assert_eq!(off_card.ok(&mut terminal, [0x80, 0xD8, 0, 0x81], &data), answer);
    assert!(OffCard::issuer_with(&mut terminal, &pairing).is_ok());
}

#[test]
fn piv_works_through_scp11b() {
    let (mut terminal, points) = prepared();
    assert_eq!(select(&mut terminal, &hex("A000000308")), 0x9000);
    let mut off_card = agree(&mut terminal, Variant::B, &points[1], 0x3C, 16).unwrap();
    assert_eq!(off_card.status(&mut terminal, [0, 0x20, 0, 0x80], PIN), 0x9000);
}

#[test]
fn chains_that_do_not_lead_to_the_authority_are_refused() {
    let (mut terminal, points) = prepared();
    let (middle, leaf) = (key(2), off_card_key());
    let signed = |used, by: &PrivateKey| certificate(SERIAL, &leaf, used, by);
    let authority = |used, by: &PrivateKey| certificate(0x20, &middle, used, by);
    let agreed = Use::Agreement;
    let disturbed = |at: usize| {
        let mut certificate = signed(agreed, &ca());
        let at = certificate.len() - at;
        certificate[at] ^= 1;
        certificate
    };
    for (chain, expected) in [
        (vec![signed(agreed, &middle)], 0x6982),
        (vec![signed(Use::Authority, &ca())], 0x6982),
        (vec![signed(Use::Unknown, &ca())], 0x6A80),
        (vec![disturbed(1)], 0x6982),
        (vec![disturbed(130)], 0x6982),
        (vec![authority(agreed, &ca()), signed(agreed, &middle)], 0x6982),
        (vec![authority(Use::Unsaid, &ca()), signed(agreed, &middle)], 0x6982),
        (
            vec![
                authority(Use::LastAuthority, &ca()),
                authority(Use::Authority, &middle),
                signed(agreed, &middle),
            ],
            0x6982,
        ),
        (vec![vec![]], 0x6A80),
        (vec![[signed(agreed, &ca()), vec![0]].concat()], 0x6A80),
        (vec![signed(agreed, &ca())], 0x9000),
        (vec![signed(Use::Unsaid, &ca())], 0x9000),
        (
            vec![
                authority(Use::Authority, &ca()),
                authority(Use::Authority, &middle),
                signed(agreed, &middle),
            ],
            0x9000,
        ),
    ] {
        assert_eq!(certify(&mut terminal, &chain), expected);
        let agreed = agree(&mut terminal, Variant::A, &points[0], 0x3C, 16);
        assert_eq!(agreed.err(), if expected == 0x9000 { None } else { Some(0x6985) });
    }
}

#[test]
fn a_certificate_must_be_on_the_allowlist_where_there_is_one() {
    let (mut terminal, points) = prepared();
    for (list, expected) in [
        ("A604830210047006930120930121", 0x9000),
        ("A604830210047006930120930122", 0x6982),
        ("A60483021004700793012093020021", 0x9000),
        ("A604830210047003930120", 0x6982),
        ("A604830210047000", 0x9000),
    ] {
        let mut issuer = OffCard::issuer(&mut terminal);
        assert_eq!(issuer.status(&mut terminal, [0x80, 0xE2, 0x90, 0], &hex(list)), 0x9000);
        select(&mut terminal, &ISSUER);
        assert_eq!(certify(&mut terminal, &chain()), expected, "{list}");
        assert_eq!(agree(&mut terminal, Variant::A, &points[0], 0x3C, 16).is_ok(), expected == 0x9000);
    }
}

#[test]
fn what_is_not_asked_as_it_should_be_is_refused() {
    let (mut terminal, _) = prepared();
    let right = agreement(0x01, 0x3C, 16);
    let mut off_curve = right.clone();
    *off_curve.last_mut().unwrap() ^= 1;

    for (header, data, expected) in [
        ([0x80, 0x82, 1, 0x11], agreement(0x00, 0x3C, 16), 0x6A80),
        ([0x80, 0x82, 1, 0x11], agreement(0x05, 0x3C, 16), 0x6A80),
        ([0x80, 0x82, 1, 0x11], agreement(0x01, 0x3D, 16), 0x6A80),
        ([0x80, 0x82, 1, 0x11], agreement(0x01, 0x3C, 17), 0x6A80),
        ([0x80, 0x82, 1, 0x11], off_curve, 0x6A80),
        ([0x80, 0x82, 2, 0x11], right.clone(), 0x6A88),
        ([0x80, 0x82, CA_KVN, 0x10], right.clone(), 0x6A88),
        ([0x80, 0x88, 1, 0x11], right.clone(), 0x6A80),
        ([0x80, 0x82, 1, 0x13], agreement(0x00, 0x3C, 16), 0x6A80),
        ([0x80, 0x82, 1, 0x11], vec![], 0x6A80),
        ([0x80, 0x82, 1, 0x11], [&right[..], &[0x30, 0]].concat(), 0x6A80),
        ([0x80, 0x82, 1, 0x11], right, 0x9000),
    ] {
        certify(&mut terminal, &chain());
        assert_eq!(send(&mut terminal, header, &data).1, expected, "{header:02X?} {}", hex::encode(&data));
    }
    assert_eq!(send(&mut terminal, [0x80, 0x2A, 9, 0x10], &chain()[0]).1, 0x6A88);
    assert_eq!(send(&mut terminal, [0x80, 0x2A, 1, 0x11], &chain()[0]).1, 0x6A88);
}
