//! The host's commands about certification.

use cardhost_wire::{
    control::{Answer, Failure},
    pairing::PairingCommand,
};

use crate::{
    authority::{
        AUTHORITY, certify_card, command, hand_over, is_signed, own, read, request, requested_point,
    },
    certificate::{Use, key, name, named},
    device::Device,
    harness::Terminal,
};

fn certify(terminal: &mut Terminal, certificate: Vec<u8>, authority: Vec<u8>) -> Option<Failure> {
    match command(terminal, PairingCommand::Certify { certificate, authority }) {
        Ok(Answer::Done) => None,
        Ok(other) => panic!("{other:?}"),
        Err(failure) => Some(failure),
    }
}

#[test]
fn a_request_is_signed_by_the_key_that_it_is_for() {
    let mut terminal = Terminal::new();
    let request = request(&mut terminal);
    assert!(is_signed(&request, &requested_point(&request)));
    let subject = name("02020202020202020202020202020202");
    assert!(request.windows(subject.len()).any(|window| window == subject));
}

#[test]
fn the_key_is_made_once_and_stays() {
    let mut terminal = Terminal::new();
    let first = requested_point(&request(&mut terminal));
    let commits = terminal.host().commits;
    assert_eq!(requested_point(&request(&mut terminal)), first);
    assert_eq!(terminal.host().commits, commits);
    let mut terminal = terminal.restarted();
    let again = request(&mut terminal);
    assert_eq!(requested_point(&again), first);
    hand_over(&mut terminal, &again, AUTHORITY).unwrap();
    assert_eq!(requested_point(&request(&mut terminal)), first, "also to renew the certificate");
}

#[test]
fn a_request_without_a_name_makes_no_key() {
    let mut terminal = Terminal::new();
    assert!(!read(&mut terminal).certified);
    let commits = terminal.host().commits;
    for subject in [vec![], vec![0x30], vec![0x30, 1], [name("a"), vec![0]].concat()] {
        assert_eq!(command(&mut terminal, PairingCommand::Request(subject)).err(), Some(Failure::Malformed));
    }
    assert_eq!(terminal.host().commits, commits);
}

#[test]
fn a_card_is_certified_once_and_the_same_again_writes_nothing() {
    let mut terminal = Terminal::new();
    let request = request(&mut terminal);
    let (certificate, authority) = (certify_card(&request, AUTHORITY), own(AUTHORITY));
    assert_eq!(certify(&mut terminal, certificate.clone(), authority.clone()), None);
    assert!(read(&mut terminal).certified);
    let commits = terminal.host().commits;
    assert_eq!(certify(&mut terminal, certificate, authority), None);
    assert_eq!(terminal.host().commits, commits);
    assert!(Device::new(1).set_up(&mut terminal).is_ok());
    assert!(read(&mut terminal.restarted()).certified);
}

#[test]
fn the_authority_stays_the_same() {
    let mut terminal = Terminal::new();
    let request = request(&mut terminal);
    hand_over(&mut terminal, &request, AUTHORITY).unwrap();
    assert_eq!(hand_over(&mut terminal, &request, 2).err(), Some(Failure::Policy));
    assert!(Device::new(1).set_up(&mut terminal).is_ok());
}

#[test]
fn what_is_not_authentic_is_refused() {
    let mut terminal = Terminal::new();
    let request = request(&mut terminal);
    let right = certify_card(&request, AUTHORITY);
    let nobody = [&name("a")[..], &name("a")];
    let by = |used, by: u8| named(&[1], nobody, &key(1), used, &key(by));
    let commits = terminal.host().commits;
    for (certificate, authority, expected) in [
        (certify_card(&request, 2), own(1), Failure::NotAuthentic),
        (right.clone(), by(Use::Authority, 2), Failure::NotAuthentic),
        (right.clone(), by(Use::Agreement, 1), Failure::NotAuthentic),
        (right.clone(), by(Use::Unsaid, 1), Failure::NotAuthentic),
        (right.clone(), by(Use::Unknown, 1), Failure::Malformed),
        (named(&[1], nobody, &key(3), Use::Agreement, &key(1)), own(1), Failure::CertificateMismatch),
        (named(&[1], nobody, &key(3), Use::Authority, &key(1)), own(1), Failure::NotAuthentic),
        (own(1), right.clone(), Failure::NotAuthentic),
        (right.clone(), vec![], Failure::Malformed),
        (vec![], own(1), Failure::Malformed),
        ([&right[..], &[0]].concat(), own(1), Failure::Malformed),
        (right.clone(), [&own(1)[..], &[0]].concat(), Failure::Malformed),
    ] {
        assert_eq!(certify(&mut terminal, certificate, authority), Some(expected));
    }
    assert_eq!((terminal.host().commits, read(&mut terminal).certified), (commits, false));
    assert_eq!(certify(&mut terminal, right, by(Use::LastAuthority, 1)), None);
}

#[test]
fn a_card_without_a_key_has_none_to_certify() {
    let mut terminal = Terminal::new();
    let certificate = named(&[1], [&name("a"), &name("b")], &key(3), Use::Agreement, &key(1));
    assert_eq!(certify(&mut terminal, certificate, own(1)), Some(Failure::NoKey));
}
