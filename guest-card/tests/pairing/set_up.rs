//! What a set-up refuses, and what it lets a terminal do.

use cardhost_wire::tlv::object;

use crate::{
    authority::{AUTHORITY, CARDS, List, certified, certify, certify_card, hand_over, read, request},
    certificate::{Use, certificate, key, name, named},
    device::{Device, Session, agreement, authenticate, certified_point, put_key_command, select, serial},
    harness::{PIN, Terminal, hex},
    off_card::{Set, send},
};

const WRONG: &[u8] = b"000000\xFF\xFF";

/// A card in a set-up with the first terminal.
fn set_up() -> (Terminal, Session) {
    let mut terminal = certified();
    let session = Device::new(1).set_up(&mut terminal).unwrap();
    (terminal, session)
}

#[test]
fn no_key_is_put_before_the_pin_was_verified() {
    let (mut terminal, mut session) = set_up();
    let set = Set::made_up(0x60, 16);
    assert_eq!(session.put_key(&mut terminal, &set).err(), Some(0x6982));
    assert_eq!(session.verify(&mut terminal, WRONG), 0x63C2);
    assert_eq!(session.put_key(&mut terminal, &set).err(), Some(0x6982));
    assert_eq!(session.verify(&mut terminal, PIN), 0x9000);
    assert_eq!(session.verify(&mut terminal, WRONG), 0x63C2);
    assert_eq!(session.put_key(&mut terminal, &set).err(), Some(0x6982), "a wrong PIN takes the proof away");
    assert!(read(&mut terminal).pairings.is_empty());
    assert_eq!(session.verify(&mut terminal, PIN), 0x9000);
    assert!(session.put_key(&mut terminal, &set).is_ok());
}

#[test]
fn the_proof_of_the_pin_serves_one_session_only() {
    let (mut terminal, mut session) = set_up();
    assert_eq!(session.verify(&mut terminal, PIN), 0x9000);
    let mut session = Device::new(1).set_up(&mut terminal).unwrap();
    assert_eq!(session.put_key(&mut terminal, &Set::made_up(0x60, 16)).err(), Some(0x6982));
    let mut terminal = certified();
    assert_eq!(terminal.verify(PIN), 0x9000);
    let mut session = Device::new(1).set_up(&mut terminal).unwrap();
    assert_eq!(session.put_key(&mut terminal, &Set::made_up(0x60, 16)).err(), Some(0x6982));
}

#[test]
fn tries_of_the_pin_are_those_of_piv() {
    let (mut terminal, mut session) = set_up();
    assert_eq!(session.verify(&mut terminal, WRONG), 0x63C2);
    terminal = terminal.restarted();
    assert_eq!(terminal.verify(WRONG), 0x63C1);
    let mut session = Device::new(1).set_up(&mut terminal).unwrap();
    assert_eq!(session.verify(&mut terminal, WRONG), 0x63C0);
    assert_eq!(session.verify(&mut terminal, PIN), 0x6983);
    assert_eq!(session.put_key(&mut terminal, &Set::made_up(0x60, 16)).err(), Some(0x6982));
    let mut terminal = terminal.restarted();
    assert_eq!(terminal.verify(PIN), 0x6983);
}

#[test]
fn a_card_without_a_pin_pairs_with_nobody() {
    let mut terminal = Terminal::blank();
    let request = request(&mut terminal);
    hand_over(&mut terminal, &request, AUTHORITY).unwrap();
    let mut session = Device::new(1).set_up(&mut terminal).unwrap();
    assert_eq!(session.verify(&mut terminal, PIN), 0x6984);
    assert_eq!(session.put_key(&mut terminal, &Set::made_up(0x60, 16)).err(), Some(0x6982));
}

#[test]
fn only_the_three_commands_are_executed() {
    let (mut terminal, mut session) = set_up();
    for (command, expected) in [
        ("00A4040005A000000308", 0x6D00),
        ("00A404000AF063617264686F737401", 0x6D00),
        ("00CB3FFF055C035FC10200", 0x6D00),
        ("0070000001", 0x6D00),
        ("00C0000000", 0x6D00),
        ("8050600008000000000000000000", 0x6D00),
        ("80200080083132333435360000", 0x6D00),
        ("012000800831323334353600FF", 0x6D00),
        ("1020008008313233343536FFFF", 0x6D00),
        ("0020008108313233343536FFFF", 0x6A86),
        ("00200080", 0x6A80),
        ("0020008006313233343536", 0x6A80),
        ("80CABF2106A6048302110100", 0x6A88),
        ("80D8008200", 0x6A86),
        ("80D86081020000", 0x6A86),
        ("80D80081", 0x6700),
        ("00", 0x6700),
        ("", 0x6700),
    ] {
        assert_eq!(session.status(&mut terminal, &hex(command)), expected, "{command}");
    }
    assert_eq!(session.verify(&mut terminal, PIN), 0x9000, "no try was lost");
    assert_eq!(session.verify(&mut terminal, WRONG), 0x63C2);
}

#[test]
fn keys_that_are_not_as_they_should_be_are_refused() {
    let (mut terminal, mut session) = set_up();
    assert_eq!(session.verify(&mut terminal, PIN), 0x9000);
    for (kvn, length) in [(0x5F, 16), (0x70, 16), (0x01, 16), (0x60, 24), (0x60, 32)] {
        let refused = session.put_key(&mut terminal, &Set::made_up(kvn, length)).err();
        assert_eq!(refused, Some(0x6A80), "{kvn:02X} {length}");
    }
    let right = session.key_data(&Set::made_up(0x60, 16));
    for at in [1, 2, 3, 10, 20, 21, 22, right.len() - 1] {
        let mut wrong = right.clone();
        wrong[at] ^= 0x10;
        assert_eq!(session.status(&mut terminal, &put_key_command(&wrong)), 0x6A80, "{at}");
    }
    for wrong in [&right[..right.len() - 1], &right[..1], &[&right[..], &[0]].concat()] {
        assert_eq!(session.status(&mut terminal, &put_key_command(wrong)), 0x6A80);
    }
    let public = [&hex("60B041")[..], key(1).public_key().as_bytes(), &hex("F0010000")].concat();
    let command = [&[0x80, 0xD8, 0x00, 0x10, public.len() as u8][..], &public].concat();
    assert_eq!(session.status(&mut terminal, &command), 0x6A86);
    assert!(read(&mut terminal).pairings.is_empty());
    assert_eq!(session.status(&mut terminal, &put_key_command(&right)), 0x9000);
}

#[test]
fn the_key_information_tells_which_versions_are_in_use() {
    let mut terminal = certified();
    Device::new(1).pair(&mut terminal, 0x6F).unwrap();
    Device::new(2).pair(&mut terminal, 0x63).unwrap();
    let mut session = Device::new(3).set_up(&mut terminal).unwrap();
    let answer = session.send(&mut terminal, &hex("80CA00E000")).unwrap();
    let entries = "C00401638810C00402638810C00403638810C004016F8810C004026F8810C004036F8810";
    assert_eq!(answer, [object(0xE0, &hex(entries)), hex("9000")].concat());
}

#[test]
fn sixteen_terminals_pair_and_the_seventeenth_finds_no_place() {
    let mut terminal = certified();
    let sets: Vec<Set> = (0..16).map(|at| Device::new(at).pair(&mut terminal, 0x60 + at).unwrap()).collect();
    for kvn in 0x60..=0x6F {
        assert_eq!(Device::new(16).pair(&mut terminal, kvn).err(), Some(0x6985), "{kvn:02X}");
    }
    for set in &sets {
        authenticate(&mut terminal, set).unwrap();
    }
    let mut session = Device::new(16).set_up(&mut terminal).unwrap();
    let information = session.send(&mut terminal, &hex("80CA00E000")).unwrap();
    assert_eq!(information.len(), 2 + 2 + 1 + 1 + 16 * 18);
}

#[test]
fn a_certificate_has_one_pairing() {
    let mut terminal = certified();
    let device = Device::new(1);
    let first = device.pair(&mut terminal, 0x60).unwrap();
    let other = Device::new(2).pair(&mut terminal, 0x61).unwrap();
    let second = device.pair(&mut terminal, 0x64).unwrap();
    assert_eq!(authenticate(&mut terminal, &first).err(), Some(0x6A88));
    authenticate(&mut terminal, &second).unwrap();
    // Under the same version again, and refused under another's.
    device.pair(&mut terminal, 0x64).unwrap();
    assert_eq!(device.pair(&mut terminal, 0x61).err(), Some(0x6985));
    authenticate(&mut terminal, &second).unwrap();
    authenticate(&mut terminal, &other).unwrap();
    assert_eq!(versions(&mut terminal), [(0x61, serial(2)[1..].to_vec()), (0x64, serial(1)[1..].to_vec())]);
}

fn versions(terminal: &mut Terminal) -> Vec<(u8, Vec<u8>)> {
    read(terminal).pairings.into_iter().map(|pairing| (pairing.kvn, pairing.serial)).collect()
}

#[test]
fn devices_of_one_name_have_pairings_of_their_own() {
    let mut terminal = certified();
    let devices = [1, 2].map(|number| Device::named("terminal", number));
    let first = devices[0].pair(&mut terminal, 0x60).unwrap();
    assert_eq!(devices[1].pair(&mut terminal, 0x60).err(), Some(0x6985));
    let second = devices[1].pair(&mut terminal, 0x61).unwrap();
    for set in [&first, &second] {
        authenticate(&mut terminal, set).unwrap();
    }
    List::new(1, &[&serial(1)]).deliver(&mut terminal).unwrap();
    assert_eq!(authenticate(&mut terminal, &first).err(), Some(0x6A88));
    authenticate(&mut terminal, &second).unwrap();
    assert_eq!(versions(&mut terminal), [(0x61, serial(2)[1..].to_vec())]);
}

#[test]
fn the_terminals_certificate_must_be_the_authoritys_and_for_key_agreement() {
    let mut terminal = certified();
    let ours = |used| Device::with(1, |own| certify(&serial(1), "terminal-1", own, used));
    let long = "x".repeat(65);
    for (device, expected) in [
        (ours(Use::Agreement), None),
        (ours(Use::Authority), Some(0x6982)),
        (ours(Use::Unknown), Some(0x6A80)),
        (
            Device::with(1, |own| {
                named(&[1], [&name("pairing authority"), &name("terminal-1")], own, Use::Agreement, &key(2))
            }),
            Some(0x6982),
        ),
        (Device::with(1, |own| certificate(1, own, Use::Agreement, own)), Some(0x6982)),
        (Device::with(1, |own| certificate(1, own, Use::Agreement, &key(1))), Some(0x6A80)),
        (Device::with(1, |own| certify(&[1], &long, own, Use::Agreement)), Some(0x6A80)),
        (Device::with(1, |own| certify(&[1], &long[1..], own, Use::Agreement)), None),
        (Device::with(1, |own| certify(&[1], "", own, Use::Agreement)), Some(0x6A80)),
        (Device::with(1, |own| [certify(&[1], "t", own, Use::Agreement), vec![0]].concat()), Some(0x6A80)),
        (Device::with(1, |_| vec![]), Some(0x6A80)),
    ] {
        assert_eq!(device.set_up(&mut terminal).err(), expected, "{}", hex::encode(&device.certificate));
    }
}

/// Otherwise the authority's word that this is a card would admit a made-up terminal.
#[test]
fn a_cards_certificate_is_no_terminals() {
    let mut terminal = certified();
    let request = request(&mut terminal);
    let of_this_card = Device::with(1, |_| certify_card(&request, CARDS));
    let of_another = Device::with(1, |own| {
        named(&[1], [&name("pairing authority"), &name("02")], own, Use::Agreement, &key(CARDS))
    });
    for device in [of_this_card, of_another] {
        assert_eq!(device.set_up(&mut terminal).err(), Some(0x6982));
    }
    let its_own = {
        select(&mut terminal);
        crate::device::certificate(&mut terminal).unwrap()
    };
    assert_eq!(send(&mut terminal, [0x80, 0x2A, 1, 0x10], &its_own).1, 0x6982);
    assert_eq!(send(&mut terminal, [0x80, 0x82, 1, 0x11], &agreement(1, 0x3C, 16)).1, 0x6985);
}

#[test]
fn nobody_pairs_with_a_card_that_is_not_certified() {
    let mut terminal = Terminal::new();
    request(&mut terminal);
    assert_eq!(Device::new(1).set_up(&mut terminal).err(), Some(0x6A88));
    assert_eq!(send(&mut terminal, [0x80, 0x2A, 1, 0x10], &Device::new(1).certificate).1, 0x6A88);
    assert_eq!(send(&mut terminal, [0x80, 0x82, 1, 0x11], &agreement(1, 0x3C, 16)).1, 0x6985);
}

#[test]
fn the_agreement_is_scp11a_with_aes_128_and_full_protection() {
    let mut terminal = certified();
    let device = Device::new(1);
    select(&mut terminal);
    let card = certified_point(&mut terminal, CARDS).unwrap();
    let right = agreement(0x01, 0x3C, 16);
    let mut off_curve = right.clone();
    *off_curve.last_mut().unwrap() ^= 1;
    for (data, expected) in [
        (agreement(0x00, 0x3C, 16), Some(0x6A80)),
        (agreement(0x03, 0x3C, 16), Some(0x6A80)),
        (agreement(0x01, 0x34, 16), Some(0x6A80)),
        (agreement(0x01, 0x3C, 24), Some(0x6A80)),
        (agreement(0x01, 0x3C, 32), Some(0x6A80)),
        (off_curve, Some(0x6A80)),
        (vec![], Some(0x6A80)),
        (right, None),
    ] {
        select(&mut terminal);
        assert_eq!(send(&mut terminal, [0x80, 0x2A, 1, 0x10], &device.certificate).1, 0x9000);
        assert_eq!(device.agree(&mut terminal, &card, &data).err(), expected, "{}", hex::encode(&data));
        if expected.is_some() {
            let again = send(&mut terminal, [0x80, 0x82, 1, 0x11], &agreement(1, 0x3C, 16)).1;
            assert_eq!(again, 0x6985, "the certificate served one attempt");
        }
    }
}
