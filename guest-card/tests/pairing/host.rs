//! The host's commands about certification.

use cardhost_wire::{
    control::{Answer, Failure},
    pairing::PairingCommand,
};

use crate::{
    authority::{
        AUTHORITY, CARDS, certification, certify_card, command, hand_over, is_signed, own, read, request,
        requested_point,
    },
    certificate::{Use, key, name, named},
    device::{Device, authenticate, certificate, select},
    harness::Terminal,
};

fn outcome(terminal: &mut Terminal, asked: PairingCommand) -> Option<Failure> {
    match command(terminal, asked) {
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
    let asked = || certification(certify_card(&request, CARDS), CARDS, AUTHORITY);
    assert_eq!(outcome(&mut terminal, asked()), None);
    assert!(read(&mut terminal).certified);
    let commits = terminal.host().commits;
    assert_eq!(outcome(&mut terminal, asked()), None);
    assert_eq!(terminal.host().commits, commits);
    assert!(Device::new(1).set_up(&mut terminal).is_ok());
    assert!(read(&mut terminal.restarted()).certified);
}

#[test]
fn the_authority_of_terminals_stays_the_same() {
    let mut terminal = Terminal::new();
    let request = request(&mut terminal);
    hand_over(&mut terminal, &request, AUTHORITY).unwrap();
    assert_eq!(hand_over(&mut terminal, &request, 2).err(), Some(Failure::Policy));
    assert!(Device::new(1).set_up(&mut terminal).is_ok());
}

/// A renewal, also by another authority of cards: nothing in the card rests on it.
#[test]
fn a_later_certificate_takes_the_place_of_the_one_before() {
    let mut terminal = Terminal::new();
    let request = request(&mut terminal);
    hand_over(&mut terminal, &request, AUTHORITY).unwrap();
    let set = Device::new(1).pair(&mut terminal, 0x60).unwrap();
    let renewed = certify_card(&request, 51);
    assert_eq!(outcome(&mut terminal, certification(renewed.clone(), 51, AUTHORITY)), None);
    let mut terminal = terminal.restarted_at_root();
    select(&mut terminal);
    assert_eq!(certificate(&mut terminal), Ok(renewed));
    assert!(authenticate(&mut terminal, &set).is_ok(), "pairings go on");
    assert!(Device::new(2).trusting(51).pair(&mut terminal, 0x61).is_ok());
}

#[test]
fn cards_and_terminals_have_no_authority_in_common() {
    let mut terminal = Terminal::new();
    let request = request(&mut terminal);
    let common = certification(certify_card(&request, AUTHORITY), AUTHORITY, AUTHORITY);
    assert_eq!(outcome(&mut terminal, common), Some(Failure::Policy));
    assert!(!read(&mut terminal).certified);
}

#[test]
fn what_is_not_authentic_is_refused() {
    let mut terminal = Terminal::new();
    let request = request(&mut terminal);
    let right = certify_card(&request, CARDS);
    let nobody = [&name("a")[..], &name("a")];
    let authority = |of: u8, used, by: u8| named(&[1], nobody, &key(of), used, &key(by));
    let other = |used| named(&[1], nobody, &key(3), used, &key(CARDS));
    let commits = terminal.host().commits;
    let certify = |terminal: &mut Terminal, certificate: Vec<u8>, [cards, terminals]: [Vec<u8>; 2]| {
        let (card_authority, terminal_authority) = (cards, terminals);
        outcome(terminal, PairingCommand::Certify { certificate, card_authority, terminal_authority })
    };
    // What is wrong with an authority's certificate is wrong with either's.
    for (of, at) in [(CARDS, 0), (AUTHORITY, 1)] {
        for (wrong, expected) in [
            (authority(of, Use::Authority, 2), Failure::NotAuthentic),
            (authority(of, Use::Agreement, of), Failure::NotAuthentic),
            (authority(of, Use::Unsaid, of), Failure::NotAuthentic),
            (authority(of, Use::Unknown, of), Failure::Malformed),
            (right.clone(), Failure::NotAuthentic),
            (vec![], Failure::Malformed),
            ([&own(of)[..], &[0]].concat(), Failure::Malformed),
        ] {
            let mut authorities = [own(CARDS), own(AUTHORITY)];
            authorities[at] = wrong;
            assert_eq!(certify(&mut terminal, right.clone(), authorities), Some(expected), "{of}");
        }
    }
    for (certificate, expected) in [
        (certify_card(&request, 2), Failure::NotAuthentic),
        (certify_card(&request, AUTHORITY), Failure::NotAuthentic),
        (other(Use::Agreement), Failure::CertificateMismatch),
        (other(Use::Authority), Failure::NotAuthentic),
        (own(CARDS), Failure::NotAuthentic),
        (vec![], Failure::Malformed),
        ([&right[..], &[0]].concat(), Failure::Malformed),
    ] {
        let authorities = [own(CARDS), own(AUTHORITY)];
        assert_eq!(certify(&mut terminal, certificate, authorities), Some(expected));
    }
    assert_eq!((terminal.host().commits, read(&mut terminal).certified), (commits, false));
    let last = [CARDS, AUTHORITY].map(|of| authority(of, Use::LastAuthority, of));
    assert_eq!(certify(&mut terminal, right, last), None);
}

#[test]
fn a_card_without_a_key_has_none_to_certify() {
    let mut terminal = Terminal::new();
    let certificate = named(&[1], [&name("a"), &name("b")], &key(3), Use::Agreement, &key(CARDS));
    assert_eq!(outcome(&mut terminal, certification(certificate, CARDS, AUTHORITY)), Some(Failure::NoKey));
}
