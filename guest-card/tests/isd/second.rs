//! The second secure element: the same root as the first, and keys, domains and a life of its own.

use std::{env, fs};

use cardhost_wire::{
    control::{Answer, Command, Commit, Failure},
    protocols::{Container, ProtocolPairing},
};

use crate::{
    harness::{Host, Terminal, hex},
    off_card::{ISSUER, OffCard, Set, put_key, select},
};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/second-v1.bin");
const PUT: [u8; 4] = [0x80, 0xD8, 0, 0x81];
const DOMAIN: [u8; 5] = [0xA0, 0, 0, 9, 1];

/// Pairs all protocols with a container.
fn pair(terminal: &mut Terminal, container: Container) -> Result<(), Failure> {
    let pairing = ProtocolPairing::new(|_| container, vec![]).unwrap();
    terminal.command(Command::PairProtocols(pairing)).map(drop)
}

/// The second one's first set, as the host is told it.
fn told(terminal: &mut Terminal) -> Option<Set> {
    let secrets = terminal.command(Command::PendingSecrets).ok()?;
    let Answer::Secrets { second_security_domain_keys, .. } = secrets else { panic!("{secrets:?}") };
    let keys = second_security_domain_keys?;
    let [enc, mac, dek] = keys.0.as_chunks::<16>().0 else { panic!("not three keys") };
    Some(Set { kvn: 0xFF, keys: [enc, mac, dek].map(|key| key.to_vec()), long: false })
}

/// A card whose protocols are all the second one's, with its set.
fn paired() -> (Terminal, Set) {
    let mut terminal = Terminal::new();
    pair(&mut terminal, Container::SecondSecureElement).unwrap();
    let set = told(&mut terminal).unwrap();
    (terminal, set)
}

fn install(off_card: &mut OffCard, terminal: &mut Terminal) -> u16 {
    let instance = hex("07A000000151535008A00000015153504105A00000090101800000");
    off_card.status(terminal, [0x80, 0xE6, 0x0C, 0], &instance)
}

fn applications(off_card: &mut OffCard, terminal: &mut Terminal) -> (Vec<u8>, u16) {
    off_card.send(terminal, [0x80, 0xF2, 0x40, 0x00], &[0x4F, 0])
}

#[test]
fn it_has_keys_of_its_own_from_the_first_pairing_on() {
    let mut terminal = Terminal::new();
    assert!(told(&mut terminal).is_none());
    pair(&mut terminal, Container::SecondSecureElement).unwrap();
    let set = told(&mut terminal).unwrap();
    assert_eq!(OffCard::issuer_with(&mut terminal, &Set::well_known()).err(), Some(0x6A88));
    OffCard::issuer_with(&mut terminal, &set).unwrap();
    pair(&mut terminal, Container::SecureElement).unwrap();
    assert_eq!(OffCard::issuer_with(&mut terminal, &set).err(), Some(0x6A88));
    OffCard::issuer(&mut terminal);
    pair(&mut terminal, Container::SecondSecureElement).unwrap();
    assert_eq!(told(&mut terminal).unwrap().keys, set.keys, "they are made once");
    let mut terminal = terminal.restarted();
    OffCard::issuer_with(&mut terminal, &set).unwrap();
}

#[test]
fn its_keys_are_told_until_they_are_acknowledged() {
    let (mut terminal, set) = paired();
    terminal.command(Command::AcknowledgeSecrets).unwrap();
    assert!(told(&mut terminal).is_none());
    assert_eq!(terminal.command(Command::AcknowledgeSecrets).err(), Some(Failure::NoSecrets));
    pair(&mut terminal, Container::SecondSecureElement).unwrap();
    assert!(told(&mut terminal).is_none());
    OffCard::issuer_with(&mut terminal, &set).unwrap();
}

#[test]
fn first_secrets_of_both_are_told_and_acknowledged_together() {
    let mut terminal = Terminal::blank();
    terminal.command(Command::Personalise { pin: None, puk: None, management_key: None }).unwrap();
    pair(&mut terminal, Container::SecondSecureElement).unwrap();
    let Ok(Answer::Secrets { pin, security_domain_keys, second_security_domain_keys, .. }) =
        terminal.command(Command::PendingSecrets)
    else {
        panic!()
    };
    assert!(pin.is_some());
    assert_ne!(security_domain_keys.unwrap().0, second_security_domain_keys.unwrap().0);
    // The second commit is not stored: what is left is acknowledged at the next try.
    terminal.host().willing = 1;
    assert_eq!(terminal.command(Command::AcknowledgeSecrets).err(), Some(Failure::NotCommitted));
    assert!(told(&mut terminal).is_some());
    terminal.host().willing = usize::MAX;
    terminal.command(Command::AcknowledgeSecrets).unwrap();
    assert_eq!(terminal.command(Command::PendingSecrets).err(), Some(Failure::NoSecrets));
}

#[test]
fn a_pairing_without_its_keys_is_not_made() {
    for willing in [0, 1] {
        let mut terminal = Terminal::new();
        assert_eq!(select(&mut terminal, &ISSUER), 0x9000);
        terminal.host().willing = willing;
        assert_eq!(pair(&mut terminal, Container::SecondSecureElement).err(), Some(Failure::NotCommitted));
        terminal.host().willing = usize::MAX;
        OffCard::issuer(&mut terminal);
        pair(&mut terminal, Container::SecondSecureElement).unwrap();
        let set = told(&mut terminal).unwrap();
        OffCard::issuer_with(&mut terminal, &set).unwrap();
    }
}

#[test]
fn neither_sees_the_others_domains_and_keys() {
    let (mut terminal, set) = paired();
    let mut second = OffCard::issuer_with(&mut terminal, &set).unwrap();
    assert_eq!(applications(&mut second, &mut terminal), (vec![], 0x6A88), "PIV is not its own");
    assert_eq!(install(&mut second, &mut terminal), 0x9000);
    let data = put_key(&second, &Set::made_up(1, 16)).0;
    assert_eq!(second.status(&mut terminal, PUT, &data), 0x9000);
    pair(&mut terminal, Container::SecureElement).unwrap();
    let mut first = OffCard::issuer(&mut terminal);
    let listed = applications(&mut first, &mut terminal).0;
    assert!(
        listed.starts_with(&hex("0BA000000308000010000100")) && !listed.windows(5).any(|at| at == DOMAIN)
    );
    assert_eq!(OffCard::issuer_with(&mut terminal, &Set::made_up(1, 16)).err(), Some(0x6A88));
    let records = terminal.host().records();
    assert!(records.iter().any(|record| record.id >> 12 == 4));
    // A name that only one of them has is found on every protocol.
    assert_eq!(select(&mut terminal, &DOMAIN), 0x9000);
    assert_eq!(select(&mut terminal, &hex("A000000308")), 0x9000);
}

#[test]
fn a_name_that_both_have_is_the_protocols_containers() {
    let (mut terminal, set) = paired();
    let mut second = OffCard::issuer_with(&mut terminal, &set).unwrap();
    assert_eq!(install(&mut second, &mut terminal), 0x9000);
    pair(&mut terminal, Container::SecureElement).unwrap();
    let mut first = OffCard::issuer(&mut terminal);
    assert_eq!(install(&mut first, &mut terminal), 0x9000);
    for (container, own, foreign) in [
        (Container::SecureElement, Set::well_known(), set.clone()),
        (Container::SecondSecureElement, set.clone(), Set::well_known()),
    ] {
        pair(&mut terminal, container).unwrap();
        select(&mut terminal, &DOMAIN);
        assert!(OffCard::open(&mut terminal, &own, 0x33).is_ok());
        select(&mut terminal, &DOMAIN);
        assert_eq!(OffCard::open(&mut terminal, &foreign, 0x33).err(), Some(0x6A88));
    }
}

#[test]
fn one_that_is_terminated_leaves_the_other_alone() {
    let (mut terminal, set) = paired();
    let mut second = OffCard::issuer_with(&mut terminal, &set).unwrap();
    assert_eq!(install(&mut second, &mut terminal), 0x9000);
    assert_eq!(second.status(&mut terminal, [0x80, 0xF0, 0x80, 0xFF], &[]), 0x9000);
    assert_eq!(install(&mut second, &mut terminal), 0x6985);
    assert_eq!(select(&mut terminal, &DOMAIN), 0x6A82);
    assert_eq!(select(&mut terminal, &hex("A000000308")), 0x9000);
    pair(&mut terminal, Container::SecureElement).unwrap();
    let mut first = OffCard::issuer(&mut terminal);
    assert_eq!(install(&mut first, &mut terminal), 0x9000);
}

#[test]
fn a_channel_to_one_is_none_to_the_other() {
    let (mut terminal, set) = paired();
    let mut second = OffCard::issuer_with(&mut terminal, &set).unwrap();
    pair(&mut terminal, Container::SecureElement).unwrap();
    assert_eq!(install(&mut second, &mut terminal), 0x9000, "what is selected stays so");
    assert_eq!(select(&mut terminal, &ISSUER), 0x9000);
    assert_eq!(install(&mut second, &mut terminal), 0x6982);
}

/// Makes the fixture. Only before the first release that writes this format; from then on it stays as it is.
fn freeze() {
    let (mut terminal, set) = paired();
    let mut second = OffCard::issuer_with(&mut terminal, &set).unwrap();
    assert_eq!(install(&mut second, &mut terminal), 0x9000);
    fs::write(PATH, postcard::to_allocvec(&terminal.host().state()).unwrap()).unwrap();
}

#[test]
fn the_second_one_of_version_1_opens_and_works() {
    if env::var_os("CARDHOST_FREEZE").is_some() {
        freeze();
    }
    let state: Commit = postcard::from_bytes(&fs::read(PATH).unwrap()).unwrap();
    let mut terminal = Terminal::start(Host::storing(state), false);
    let set = told(&mut terminal).unwrap();
    let mut second = OffCard::issuer_with(&mut terminal, &set).unwrap();
    let listed = [&[5][..], &DOMAIN, &[0x07, 0x80]].concat();
    assert_eq!(applications(&mut second, &mut terminal), (listed, 0x9000));
    pair(&mut terminal, Container::SecureElement).unwrap();
    OffCard::issuer(&mut terminal);
}
