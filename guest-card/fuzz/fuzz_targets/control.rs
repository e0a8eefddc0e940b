//! Messages of a hostile host at each moment of a card's life.
#![no_main]

#[path = "../../tests/piv/harness.rs"]
mod harness;

use arbitrary::Arbitrary;
use cardhost_guest::Card;
use cardhost_wire::{
    control::{GuestMessage, HostMessage},
    port::{Port, Protocol},
};
use harness::{Host, Terminal, launch};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Moment {
    Blank,
    Opening,
    Running,
}

fuzz_target!(|input: (Moment, Vec<Vec<u8>>)| {
    let (moment, messages) = input;
    let mut card = card(moment);
    for message in messages {
        if let Some(answer) = card.transmit(Port::Control, &message) {
            assert!(GuestMessage::decode(&answer).is_ok());
        }
        let answer = card.transmit(Port::Apdu(Protocol::ApduGate), &[0, 0xA4, 4, 0]).unwrap();
        assert!(matches!(answer[..], [0x69, 0x85] | [.., 0x90, 0x00]));
    }
});

fn card(moment: Moment) -> Card<Host> {
    let mut card = Card::new(Host::new(1));
    match moment {
        Moment::Blank => {}
        Moment::Opening => drop(card.transmit(Port::Control, &HostMessage::Launch(launch(true)).encode())),
        Moment::Running => std::mem::swap(&mut card, Terminal::new().card()),
    }
    card
}
