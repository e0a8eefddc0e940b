//! What one exchange costs, and what the link promises.

use cardhost_wire::{
    control::GuestMessage,
    link::{Kind, MAX_PAYLOAD},
    port::{Port, Protocol},
};

use crate::{
    card::{Card, GATE},
    guest::Guest,
    launcher::{Launcher, kvm},
};

/// SELECT of the PIV application by its shortest name.
const SELECT_PIV: [u8; 10] = [0x00, 0xA4, 0x04, 0x00, 0x05, 0xA0, 0x00, 0x00, 0x03, 0x08];
const EXCHANGES: u64 = 100;

fn card(launcher: &Launcher) -> Card {
    launcher.card().started()
}

#[test]
fn a_card_starts_and_answers() {
    if !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::card());
    let mut card = launcher.card();
    let GuestMessage::Started(started) = card.start() else { panic!("a new card starts") };
    assert_eq!(started.epoch, 0);
    card.link.open(GATE);
    assert!(card.apdu(&SELECT_PIV).ends_with(&[0x90, 0x00]));
}

/// The promise of `ARCHITECTURE.md`: one exit per APDU.
#[test]
fn an_exchange_is_exactly_one_exit() {
    if !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::card());
    let mut card = card(&launcher);
    card.apdu(&SELECT_PIV);
    let before = card.link.statistics().exits;
    for _ in 0..EXCHANGES {
        card.apdu(&SELECT_PIV);
    }
    assert_eq!(card.link.statistics().exits - before, EXCHANGES);
}

#[test]
fn statistics_do_not_run_the_guest() {
    if !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::card());
    let mut card = card(&launcher);
    let first = card.link.statistics();
    let second = card.link.statistics();
    assert_eq!(first.exits, second.exits);
    assert!((10..1024).contains(&first.resident_pages), "{first:?}");
    assert!(first.cpu_us > 0);
}

#[test]
fn every_port_of_the_card_opens_and_a_foreign_one_does_not() {
    if !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::card());
    let mut card = launcher.card();
    card.start();
    for protocol in Protocol::ALL {
        card.link.open(Port::Apdu(protocol));
    }
    card.link.send(Kind::Open, 4999, &[]);
    assert_eq!(card.link.receive(), Some((Kind::Close, 4999, vec![])));
}

#[test]
fn a_closed_port_opens_again() {
    if !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::card());
    let mut card = card(&launcher);
    for _ in 0..10 {
        card.link.send(Kind::Close, GATE.number(), &[]);
        card.link.open(GATE);
        assert!(card.apdu(&SELECT_PIV).ends_with(&[0x90, 0x00]));
    }
}

#[test]
fn data_may_be_cut_anywhere() {
    if !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::card());
    let mut card = card(&launcher);
    let message = cardhost_wire::frame::framed(&SELECT_PIV);
    for at in 1..message.len() {
        card.link.send(Kind::Data, GATE.number(), &message[..at]);
        card.link.send(Kind::Data, GATE.number(), &message[at..]);
        assert!(card.link.next_message(GATE).ends_with(&[0x90, 0x00]));
    }
}

/// A longest APDU, both ways of its answer: far more than one packet.
#[test]
fn a_longest_command_is_answered() {
    if !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::card());
    let mut card = card(&launcher);
    let data = vec![0x5A; 65_535];
    let command = [&[0x00, 0xEE, 0, 0, 0, 0xFF, 0xFF], &data[..], &[0, 0]].concat();
    assert_eq!(card.apdu(&command).len(), 2);
    assert!(card.apdu(&SELECT_PIV).ends_with(&[0x90, 0x00]));
}

#[test]
fn a_daemon_that_breaks_the_link_loses_only_this_card() {
    if !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::card());
    let mut neighbour = card(&launcher);
    let unknown = [9; 12];
    let giant = [&[3, 0, 0, 0][..], &GATE.number().to_le_bytes(), &(MAX_PAYLOAD as u32 + 1).to_le_bytes()];
    for bytes in [unknown.to_vec(), giant.concat()] {
        let mut card = card(&launcher);
        card.link.write(&bytes);
        assert_eq!(launcher.ended(card.instance), (Some(4), None));
    }
    assert!(neighbour.apdu(&SELECT_PIV).ends_with(&[0x90, 0x00]));
}
