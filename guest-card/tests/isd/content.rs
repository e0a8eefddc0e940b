//! Card content: further security domains, locks, life cycles.

use cardhost_wire::key::KeyReference;

use crate::{
    harness::{Terminal, hex},
    off_card::{ISSUER, OffCard, Set, put_key, select, send},
};

const DOMAIN: [u8; 5] = [0xA0, 0, 0, 9, 1];
const OTHER: [u8; 5] = [0xA0, 0, 0, 9, 2];
const PIV: &str = "A000000308000010000100";
const STATUS: [u8; 4] = [0x80, 0xF2, 0x40, 0x00];
const DELETE: [u8; 4] = [0x80, 0xE4, 0, 0];
const PUT: [u8; 4] = [0x80, 0xD8, 0, 0x81];

fn instance(aid: &[u8], parameters: &str) -> Vec<u8> {
    let parameters = hex(parameters);
    let head = hex("07A000000151535008A000000151535041");
    let length = [aid.len() as u8];
    [&head[..], &length, aid, &[1, 0x80, parameters.len() as u8], &parameters, &[0]].concat()
}

fn install(terminal: &mut Terminal, aid: &[u8], parameters: &str) -> u16 {
    OffCard::issuer(terminal).status(terminal, [0x80, 0xE6, 0x0C, 0], &instance(aid, parameters))
}

/// A channel to a domain.
fn open(terminal: &mut Terminal, aid: &[u8], set: &Set) -> Result<OffCard, u16> {
    match select(terminal, aid) {
        0x9000 => OffCard::open(terminal, set, 0x33),
        status => Err(status),
    }
}

fn application(aid: &[u8]) -> Vec<u8> {
    [&[0x4F, aid.len() as u8], aid].concat()
}

/// What the issuer's domain says of one application, in the old form.
fn status(terminal: &mut Terminal, aid: &[u8]) -> Vec<u8> {
    let answer = OffCard::issuer(terminal).ok(terminal, STATUS, &application(aid));
    answer[1 + aid.len()..][..2].to_vec()
}

#[test]
fn a_domain_is_made_personalised_used_and_deleted() {
    let mut terminal = Terminal::new();
    assert_eq!(install(&mut terminal, &DOMAIN, ""), 0x9000);
    assert_eq!(install(&mut terminal, &DOMAIN, ""), 0x6A80, "twice");
    assert_eq!(status(&mut terminal, &DOMAIN), [0x07, 0x80]);
    let mut off_card = open(&mut terminal, &DOMAIN, &Set::well_known()).unwrap();
    let own = Set::made_up(1, 16);
    let data = put_key(&off_card, &own).0;
    assert_eq!(off_card.status(&mut terminal, PUT, &data), 0x9000);
    assert_eq!(status(&mut terminal, &DOMAIN), [0x0F, 0x80]);
    let mut terminal = terminal.restarted();
    assert_eq!(
        open(&mut terminal, &DOMAIN, &Set::well_known()).err(),
        Some(0x6A88),
        "it has keys of its own"
    );
    assert!(open(&mut terminal, &DOMAIN, &own).is_ok());
    assert_eq!(OffCard::issuer_with(&mut terminal, &own).err(), Some(0x6A88), "and nobody else has");
    let mut issuer = OffCard::issuer(&mut terminal);
    assert_eq!(issuer.status(&mut terminal, DELETE, &application(&DOMAIN)), 0x9000);
    assert_eq!(select(&mut terminal, &DOMAIN), 0x6A82);
    let records = terminal.host().records();
    assert!(records.iter().all(|record| record.id < 0x2200 || record.id > 0x2FFF), "nothing is left of it");
}

#[test]
fn a_domain_manages_itself_alone() {
    let mut terminal = Terminal::new();
    install(&mut terminal, &DOMAIN, "");
    install(&mut terminal, &OTHER, "");
    let mut off_card = open(&mut terminal, &DOMAIN, &Set::well_known()).unwrap();
    for (header, data, expected) in [
        ([0x80, 0xE6, 0x0C, 0], instance(&[0xA0, 0, 0, 9, 3], ""), 0x6982),
        (DELETE, application(&OTHER), 0x6985),
        (DELETE, application(&DOMAIN), 0x6985),
        ([0x80, 0xF0, 0x80, 0x07], vec![], 0x6982),
        ([0x80, 0xF0, 0x40, 0x80], OTHER.to_vec(), 0x6982),
        ([0x80, 0xF0, 0x40, 0x80], hex(PIV), 0x6982),
        ([0x80, 0xF2, 0x80, 0x00], vec![0x4F, 0], 0x6A88),
        ([0x80, 0xF2, 0x20, 0x00], vec![0x4F, 0], 0x6A88),
        ([0x80, 0xF0, 0x40, 0x80], DOMAIN.to_vec(), 0x9000),
        ([0x80, 0xF0, 0x40, 0x07], DOMAIN.to_vec(), 0x6982),
    ] {
        assert_eq!(off_card.status(&mut terminal, header, &data), expected, "{header:02X?}");
    }
    let own = off_card.ok(&mut terminal, STATUS, &[0x4F, 0]);
    assert_eq!(own, [&[5][..], &DOMAIN, &[0x87, 0x80]].concat());
}

/// The number of a deleted domain serves the next one; whoever still has the old one selected has nothing of it.
#[test]
fn a_domain_that_was_deleted_while_it_was_selected_is_gone() {
    let mut terminal = Terminal::new();
    install(&mut terminal, &DOMAIN, "");
    assert_eq!(terminal.transmit(&hex("0070000001")), hex("019000"));
    let mut stale = open(&mut terminal, &DOMAIN, &Set::well_known()).unwrap();
    let selected = terminal.transmit(&hex("01A4040C08A000000151000000"));
    assert_eq!(selected, hex("9000"));
    let issuer = crate::off_card::initialize_update(&mut terminal, &Set::well_known(), 1).unwrap();
    let mut issuer = issuer.authenticate(&mut terminal, 0x33).unwrap();
    assert_eq!(issuer.status(&mut terminal, DELETE, &application(&DOMAIN)), 0x9000);
    let made = issuer.status(&mut terminal, [0x80, 0xE6, 0x0C, 0], &instance(&OTHER, ""));
    assert_eq!(made, 0x9000);
    let data = put_key(&stale, &Set::made_up(1, 16)).0;
    assert_eq!(stale.status(&mut terminal, PUT, &data), 0x6985);
    assert_eq!(send(&mut terminal, [0x80, 0x50, 0x30, 0], &[0; 8]).1, 0x6982);
}

#[test]
fn a_domain_may_be_made_for_longer_messages() {
    let mut terminal = Terminal::new();
    assert_eq!(install(&mut terminal, &DOMAIN, "C90481020371"), 0x9000);
    let mut off_card = open(&mut terminal, &DOMAIN, &Set::well_known()).unwrap();
    let own = Set { long: true, ..Set::made_up(1, 32) };
    let data = put_key(&off_card, &own).0;
    assert_eq!(off_card.status(&mut terminal, PUT, &data), 0x9000);
    assert!(open(&mut terminal, &DOMAIN, &own).is_ok());
    for parameters in ["C90481020372", "C90481020270", "C903810103", "C9", "C90182", "C9028200"] {
        assert_eq!(install(&mut terminal, &OTHER, parameters), 0x6A80, "{parameters}");
    }
}

#[test]
fn what_cannot_be_installed() {
    let mut terminal = Terminal::new();
    let mut issuer = OffCard::issuer(&mut terminal);
    for aid in
        [&hex("A000000308000010000100")[..], &ISSUER, &[0xA0, 0, 0, 1], &[0xA0; 17], &hex("A000000308")]
    {
        let status = issuer.status(&mut terminal, [0x80, 0xE6, 0x0C, 0], &instance(aid, ""));
        assert_eq!(status, 0x6A80, "{aid:02X?}");
    }
    let mut privileged = instance(&DOMAIN, "");
    let at = privileged.len() - 3;
    privileged[at] = 0xA0;
    assert_eq!(issuer.status(&mut terminal, [0x80, 0xE6, 0x0C, 0], &privileged), 0x6A80);
    let mut unknown = instance(&DOMAIN, "");
    unknown[3] ^= 1;
    assert_eq!(issuer.status(&mut terminal, [0x80, 0xE6, 0x0C, 0], &unknown), 0x6A88);
    for number in 0..8 {
        let status =
            issuer.status(&mut terminal, [0x80, 0xE6, 0x0C, 0], &instance(&[0xA0, 0, 0, 9, number], ""));
        assert_eq!(status, 0x9000);
    }
    assert_eq!(
        issuer.status(&mut terminal, [0x80, 0xE6, 0x0C, 0], &instance(&[0xA0, 0, 0, 9, 9], "")),
        0x6A84
    );
}

#[test]
fn what_is_installed_is_selectable_once_it_is_made_so() {
    let mut terminal = Terminal::new();
    let mut issuer = OffCard::issuer(&mut terminal);
    assert_eq!(issuer.ok(&mut terminal, [0x80, 0xE6, 0x04, 0], &instance(&DOMAIN, "")), [0]);
    assert_eq!(select(&mut terminal, &DOMAIN), 0x6A82);
    let mut issuer = OffCard::issuer(&mut terminal);
    let make = [&[0, 0, 5][..], &DOMAIN, &[1, 0x80, 0, 0]].concat();
    assert_eq!(issuer.status(&mut terminal, [0x80, 0xE6, 0x08, 0], &make), 0x9000);
    assert_eq!(issuer.status(&mut terminal, [0x80, 0xE6, 0x08, 0], &make), 0x6985);
    assert_eq!(select(&mut terminal, &DOMAIN), 0x9000);
    assert_eq!(select(&mut terminal, &DOMAIN[..4]), 0x6A82, "shorter than a name may be");
}

#[test]
fn store_data_for_a_domain_that_the_issuer_personalises() {
    let mut terminal = Terminal::new();
    install(&mut terminal, &DOMAIN, "");
    let mut issuer = OffCard::issuer(&mut terminal);
    let personalise = [&[0, 0, 5][..], &DOMAIN, &[0, 0, 0]].concat();
    assert_eq!(issuer.ok(&mut terminal, [0x80, 0xE6, 0x20, 0], &personalise), [0]);
    assert_eq!(issuer.status(&mut terminal, [0x80, 0xE2, 0x90, 0], &hex("42030A0B0C")), 0x9000);
    assert_eq!(send(&mut terminal, [0x80, 0xCA, 0, 0x42], &[]).1, 0x6982, "in plain within a channel");
    select(&mut terminal, &ISSUER);
    assert_eq!(send(&mut terminal, [0x80, 0xCA, 0, 0x42], &[]).1, 0x6A88);
    select(&mut terminal, &DOMAIN);
    assert_eq!(send(&mut terminal, [0x80, 0xCA, 0, 0x42], &[]), (hex("42030A0B0C"), 0x9000));
}

#[test]
fn a_locked_application_is_not_found_until_it_is_unlocked() {
    let mut terminal = Terminal::new();
    for aid in [hex(PIV), DOMAIN.to_vec()] {
        install(&mut terminal, &DOMAIN, "");
        let mut issuer = OffCard::issuer(&mut terminal);
        assert_eq!(issuer.status(&mut terminal, [0x80, 0xF0, 0x40, 0x80], &aid), 0x9000);
        assert_eq!(status(&mut terminal, &aid)[0], 0x87);
        assert_eq!(select(&mut terminal, &aid), 0x6A82);
        assert!(!send(&mut terminal, [0x80, 0xCA, 0x2F, 0x00], &[]).0.windows(aid.len()).any(|at| at == aid));
        let mut issuer = OffCard::issuer(&mut terminal);
        assert_eq!(issuer.status(&mut terminal, [0x80, 0xF0, 0x40, 0x07], &aid), 0x9000);
        assert_eq!(select(&mut terminal, &aid), 0x9000);
    }
}

#[test]
fn the_cards_life_cycle_goes_its_way() {
    let mut terminal = Terminal::new();
    let mut issuer = OffCard::issuer(&mut terminal);
    for (state, expected) in [
        (0x7F, 0x6985),
        (0x07, 0x9000),
        (0x01, 0x6985),
        (0x0F, 0x9000),
        (0x07, 0x6985),
        (0x7F, 0x9000),
        (0x07, 0x6985),
    ] {
        assert_eq!(issuer.status(&mut terminal, [0x80, 0xF0, 0x80, state], &[]), expected, "{state:02X}");
    }
    assert_eq!(select(&mut terminal, &hex(PIV)), 0x6A82, "a locked card has its issuer's domain only");
    let mut issuer = OffCard::issuer(&mut terminal);
    assert_eq!(issuer.status(&mut terminal, [0x80, 0xF0, 0x80, 0x0F], &[]), 0x9000);
    assert_eq!(select(&mut terminal, &hex(PIV)), 0x9000);
}

#[test]
fn a_card_with_a_users_keys_is_not_terminated() {
    let mut terminal = Terminal::new();
    terminal.authenticate();
    terminal.generate(0x9A, 0x11);
    let mut issuer = OffCard::issuer(&mut terminal);
    assert_eq!(issuer.status(&mut terminal, [0x80, 0xF0, 0x80, 0xFF], &[]), 0x6985);
    assert_eq!(terminal.credentials(), [KeyReference(0x9A)]);
    let mut terminal = Terminal::new();
    let mut issuer = OffCard::issuer(&mut terminal);
    assert_eq!(issuer.status(&mut terminal, [0x80, 0xF0, 0x80, 0xFF], &[]), 0x9000);
    assert_eq!(issuer.status(&mut terminal, [0x80, 0xF0, 0x80, 0x0F], &[]), 0x6985, "for ever");
    assert_eq!(issuer.status(&mut terminal, DELETE, &hex("D20130")), 0x6985);
    let mut terminal = terminal.restarted_at_root();
    assert_eq!(select(&mut terminal, &hex(PIV)), 0x6A82);
    assert_eq!(send(&mut terminal, [0x80, 0xCA, 0, 0x66], &[]).1, 0x9000);
}

#[test]
fn piv_may_go_to_another_domain_whose_keys_then_open_its_channels() {
    let mut terminal = Terminal::new();
    install(&mut terminal, &DOMAIN, "");
    let mut off_card = open(&mut terminal, &DOMAIN, &Set::well_known()).unwrap();
    let own = Set::made_up(1, 16);
    let data = put_key(&off_card, &own).0;
    assert_eq!(off_card.status(&mut terminal, PUT, &data), 0x9000);
    let extradite = |to: &[u8]| [&[to.len() as u8], to, &[0, 11], &hex(PIV), &[0, 0, 0]].concat();
    let mut issuer = OffCard::issuer(&mut terminal);
    assert_eq!(issuer.status(&mut terminal, [0x80, 0xE6, 0x10, 0], &extradite(&DOMAIN)), 0x9000);
    assert_eq!(issuer.status(&mut terminal, DELETE, &application(&DOMAIN)), 0x6985, "it has an application");
    assert_eq!(open(&mut terminal, &hex(PIV), &Set::well_known()).err(), Some(0x6A88));
    let mut piv = open(&mut terminal, &hex(PIV), &own).unwrap();
    assert_eq!(piv.status(&mut terminal, [0, 0x20, 0, 0x80], crate::harness::PIN), 0x9000);
    let mut domain = open(&mut terminal, &DOMAIN, &own).unwrap();
    assert_eq!(domain.status(&mut terminal, [0x80, 0xF0, 0x40, 0x80], &hex(PIV)), 0x9000);
    let mut issuer = OffCard::issuer(&mut terminal);
    assert_eq!(issuer.status(&mut terminal, [0x80, 0xE6, 0x10, 0], &extradite(&ISSUER)), 0x9000);
    assert_eq!(issuer.status(&mut terminal, DELETE, &application(&DOMAIN)), 0x9000);
}

#[test]
fn a_long_list_comes_in_parts() {
    let mut terminal = Terminal::new();
    for number in 0..8 {
        install(&mut terminal, &[0xA0, 0, 0, 9, number, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], "");
    }
    let mut issuer = OffCard::issuer(&mut terminal);
    let (mut list, mut status) = issuer.send(&mut terminal, [0x80, 0xF2, 0x40, 0x02], &[0x4F, 0]);
    let mut parts = 1;
    while status == 0x6310 {
        assert!(list.len() / parts <= 208);
        let (more, next) = issuer.send(&mut terminal, [0x80, 0xF2, 0x40, 0x03], &[0x4F, 0]);
        list.extend(more);
        (status, parts) = (next, parts + 1);
    }
    assert_eq!((status, parts), (0x9000, 3));
    let mut reader = cardhost_wire::tlv::TlvReader::new(&list);
    let entries: Vec<_> = std::iter::from_fn(|| reader.next_object().unwrap()).collect();
    assert_eq!(entries.len(), 9);
    assert!(entries.iter().all(|(tag, _)| *tag == 0xE3));
    assert_eq!(issuer.status(&mut terminal, [0x80, 0xF2, 0x40, 0x03], &[0x4F, 0]), 0x6985);
}
