//! Key sets: put, replaced, deleted, and the one that a card is born with.

use cardhost_wire::control::{Answer, Command};

use crate::{
    harness::{Terminal, hex},
    off_card::{ISSUER, OffCard, Set, put_key, select, send},
};

const PUT: [u8; 4] = [0x80, 0xD8, 0, 0x81];
const DELETE: [u8; 4] = [0x80, 0xE4, 0, 0];
const INFORMATION: [u8; 4] = [0x00, 0xCA, 0x00, 0xE0];

/// Versions of the AES sets that the card tells.
fn versions(terminal: &mut Terminal) -> Vec<u8> {
    let information = send(terminal, INFORMATION, &[]).0;
    let sets = information.chunks(6).filter(|entry| entry[..3] == [0xC0, 4, 1]);
    sets.map(|entry| entry[3]).collect()
}

#[test]
fn a_set_is_added_replaced_and_deleted() {
    let mut terminal = Terminal::new();
    let mut off_card = OffCard::issuer(&mut terminal);
    for (set, replaced) in [(Set::made_up(1, 16), 0), (Set::made_up(2, 32), 1), (Set::made_up(2, 24), 2)] {
        let (data, answer) = put_key(&off_card, &set);
        assert_eq!(off_card.ok(&mut terminal, [0x80, 0xD8, replaced, 0x81], &data), answer);
        let mut other = OffCard::issuer_with(&mut terminal, &set).unwrap();
        assert_eq!(other.status(&mut terminal, [0x80, 0xF2, 0x80, 2], &[0x4F, 0]), 0x9000);
        off_card = OffCard::issuer(&mut terminal);
    }
    select(&mut terminal, &ISSUER);
    assert_eq!(versions(&mut terminal), [0x30, 2]);
    assert_eq!(OffCard::issuer_with(&mut terminal, &Set::made_up(1, 16)).err(), Some(0x6A88));
    let mut off_card = OffCard::issuer(&mut terminal);
    assert_eq!(off_card.status(&mut terminal, DELETE, &hex("D20102")), 0x9000);
    assert_eq!(off_card.status(&mut terminal, DELETE, &hex("D20130")), 0x6985, "the last one");
    assert_eq!(off_card.status(&mut terminal, [0x80, 0xE4, 0, 1], &hex("D20130")), 0x9000);
    select(&mut terminal, &ISSUER);
    assert_eq!(versions(&mut terminal), []);
}

#[test]
fn a_set_that_is_not_whole_or_fails_its_check_is_refused() {
    let mut terminal = Terminal::new();
    let mut off_card = OffCard::issuer(&mut terminal);
    let data = put_key(&off_card, &Set::made_up(1, 16)).0;
    let before = terminal.host().commits;
    for length in 0..data.len() {
        let status = off_card.status(&mut terminal, PUT, &data[..length]);
        assert!(matches!(status, 0x6A80 | 0x6700), "{length}: {status:04X}");
    }
    for at in 1..data.len() {
        let mut disturbed = data.clone();
        disturbed[at] ^= 0x04;
        assert_eq!(off_card.status(&mut terminal, PUT, &disturbed), 0x6A80, "{at}");
    }
    for (data, replaced) in [(&data, 0x77), (&put_key(&off_card, &Set::made_up(0x30, 16)).0, 0)] {
        let status = off_card.status(&mut terminal, [0x80, 0xD8, replaced, 0x81], data);
        assert!(matches!(status, 0x6A88 | 0x6A80));
    }
    assert_eq!(terminal.host().commits, before);
    assert_eq!(off_card.status(&mut terminal, PUT, &data), 0x9000);
}

#[test]
fn keys_of_three_lengths_are_no_set() {
    let mut terminal = Terminal::new();
    let mut off_card = OffCard::issuer(&mut terminal);
    let mut set = Set::made_up(1, 16);
    set.keys[2] = Set::made_up(1, 32).keys[2].clone();
    let data = put_key(&off_card, &set).0;
    assert_eq!(off_card.status(&mut terminal, PUT, &data), 0x6A80);
}

#[test]
fn a_domain_holds_sixteen_sets() {
    let mut terminal = Terminal::new();
    let mut off_card = OffCard::issuer(&mut terminal);
    for kvn in 1..16 {
        let data = put_key(&off_card, &Set::made_up(kvn, 16)).0;
        assert_eq!(off_card.status(&mut terminal, PUT, &data), 0x9000);
    }
    let data = put_key(&off_card, &Set::made_up(16, 16)).0;
    assert_eq!(off_card.status(&mut terminal, PUT, &data), 0x6A84);
    let mut terminal = terminal.restarted();
    for kvn in 1..16 {
        assert!(OffCard::issuer_with(&mut terminal, &Set::made_up(kvn, 16)).is_ok());
    }
}

/// A new card's set is random, told with its other first secrets, and goes with the first set that is put under it.
#[test]
fn the_initial_set_is_told_and_makes_room() {
    let mut terminal = Terminal::blank();
    terminal.command(Command::Personalise { pin: None, puk: None, management_key: None }).unwrap();
    let Ok(Answer::Secrets { security_domain_keys: Some(keys), .. }) =
        terminal.command(Command::PendingSecrets)
    else {
        panic!("no keys")
    };
    let [enc, mac, dek] = keys.0.as_chunks::<16>().0 else { panic!("not three keys") };
    assert!(enc != mac && mac != dek && dek != enc);
    let initial = Set { kvn: 0xFF, keys: [enc, mac, dek].map(|key| key.to_vec()), long: false };
    terminal.command(Command::AcknowledgeSecrets).unwrap();
    let mut terminal = terminal.restarted();
    assert_eq!(OffCard::issuer_with(&mut terminal, &Set::well_known()).err(), Some(0x6A88));
    let mut off_card = OffCard::issuer_with(&mut terminal, &initial).unwrap();
    let own = Set::made_up(1, 32);
    let (data, answer) = put_key(&off_card, &own);
    assert_eq!(off_card.ok(&mut terminal, PUT, &data), answer);
    assert_eq!(OffCard::issuer_with(&mut terminal, &initial).err(), Some(0x6A88));
    assert!(OffCard::issuer_with(&mut terminal, &own).is_ok());
    select(&mut terminal, &ISSUER);
    assert_eq!(versions(&mut terminal), [1]);
    let mut off_card = OffCard::issuer_with(&mut terminal, &own).unwrap();
    let data = put_key(&off_card, &Set::made_up(0x60, 16)).0;
    assert_eq!(off_card.status(&mut terminal, PUT, &data), 0x9000);
    select(&mut terminal, &ISSUER);
    assert_eq!(versions(&mut terminal), [1, 0x60], "the operator's stays the first");
}
