//! Random messages in every state of a session: none is executed that the terminal did not send, whatever comes.

use std::sync::LazyLock;

use cardhost_wire::{
    pairing::PairingPolicy,
    port::{Port, Protocol},
};
use proptest::prelude::*;

use crate::{
    authority::{List, certified, command, read},
    certificate::key,
    device::{Device, Session, agreement, authenticate, select, serial},
    harness::{Host, PIN, Terminal, hex},
    off_card::{Set, initialize_update},
};

/// Where a protocol can stand.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Plain,
    Selected,
    Initiated,
    Certified,
    SetUp,
    Verified,
    Paired,
}

const MOMENTS: [Moment; 7] = [
    Moment::Plain,
    Moment::Selected,
    Moment::Initiated,
    Moment::Certified,
    Moment::SetUp,
    Moment::Verified,
    Moment::Paired,
];

/// A card with one pairing, at this moment; and the session, if one is open.
fn at(moment: Moment) -> (Terminal, Option<Session>) {
    let mut terminal = Terminal::start(STORED.clone(), false);
    let (device, set) = (Device::new(1), Set::made_up(0x60, 16));
    let session = match moment {
        Moment::Plain => None,
        Moment::Selected => {
            select(&mut terminal);
            None
        }
        Moment::Initiated => {
            select(&mut terminal);
            initialize_update(&mut terminal, &set, 0).unwrap();
            None
        }
        Moment::Certified => {
            select(&mut terminal);
            crate::off_card::send(&mut terminal, [0x80, 0x2A, 1, 0x10], &device.certificate);
            None
        }
        Moment::SetUp => Some(device.set_up(&mut terminal).unwrap()),
        Moment::Verified => {
            let mut session = device.set_up(&mut terminal).unwrap();
            session.verify(&mut terminal, PIN);
            Some(session)
        }
        Moment::Paired => Some(authenticate(&mut terminal, &set).unwrap()),
    };
    (terminal, session)
}

static STORED: LazyLock<Host> = LazyLock::new(|| {
    let mut terminal = certified();
    Device::new(1).pair(&mut terminal, 0x60).unwrap();
    terminal.host().clone()
});

/// Headers that the card knows, with any data; and any bytes.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let header = prop::sample::select(
        &[
            "84C20000", "84C20000", "84C20001", "04C20000", "80C20000", "84823300", "80506000", "802A0110",
            "80820111", "80CABF21", "00200080", "80CA00E0", "80D80081", "00A40400", "00700000", "00C00000",
        ][..],
    );
    let data = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..80),
        1 => Just(hex("A60483021101")),
        1 => Just(agreement(1, 0x3C, 16)),
        1 => Just(PIN.to_vec()),
        1 => Just([&hex("5F4941")[..], key(4).public_key().as_bytes()].concat()),
    ];
    let apdu = (header, data, any::<bool>()).prop_map(|(header, data, extended)| {
        let lc = if extended { vec![0, 0, data.len() as u8] } else { vec![data.len() as u8] };
        [hex(header), lc, data, if extended { vec![0, 0] } else { vec![0] }].concat()
    });
    prop_oneof![6 => apdu, 1 => prop::collection::vec(any::<u8>(), 0..60)]
}

fn is_well_formed(answer: &[u8]) -> bool {
    matches!(answer, [.., sw1, _] if matches!(sw1 >> 4, 6 | 9)) && !answer.ends_with(&[0x6F, 0x00])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// No pairing is made or lost by them, and a session that goes on is the one that it was.
    #[test]
    fn messages_that_nobody_sent_do_nothing(
        moment in prop::sample::select(&MOMENTS[..]),
        messages in prop::collection::vec(message(), 1..12),
    ) {
        let (mut terminal, session) = at(moment);
        let before = terminal.host().records();
        for message in &messages {
            let answer = terminal.transmit(message);
            prop_assert!(is_well_formed(&answer), "{} to {}", hex::encode(answer), hex::encode(message));
        }
        let told = read(&mut terminal);
        prop_assert_eq!((told.certified, told.policy, told.pairings.len()), (true, PairingPolicy::Open, 1));
        // In a session none was executed; in plain a PIN may have been tried.
        if let Some(mut session) = session {
            prop_assert!(terminal.host().records() == before);
            let outcome = session.send(&mut terminal, &hex("0020008008303030303030FFFF"));
            prop_assert!(matches!(outcome.as_deref(), Ok([0x63, 0xC2] | [0x6D, 0x00]) | Err(0x6982)));
        }
        terminal.restarted_at_root();
    }

    /// Real messages of one session, disturbed, doubled, left out and put in another order: what is executed is a
    /// beginning of what was sent.
    #[test]
    fn a_session_executes_a_beginning_of_what_was_sent(
        order in prop::collection::vec((0usize..6, prop::option::of((any::<prop::sample::Index>(), 1u8..))), 1..10),
    ) {
        let (mut terminal, session) = at(Moment::Paired);
        let mut session = session.unwrap();
        // Each but the first loses a try.
        let mut sent = vec![session.wrap(&hex("00A4040C05A000000308"))];
        sent.extend((0..5).map(|_| session.wrap(&hex("0020008008303030303030FFFF"))));
        let mut executed = 0;
        for (at, disturbed) in order {
            let mut message = sent[at].clone();
            if let Some((index, value)) = disturbed {
                let index = index.index(message.len() - 2);
                message[index] ^= value;
            }
            let answer = terminal.transmit(&message);
            // In plain, where a session has ended, a class byte may say that a chain begins.
            if answer.len() > 2 {
                prop_assert_eq!(message, sent[executed].clone());
                executed += 1;
            }
        }
        let mut terminal = terminal.restarted();
        let tries = 3u16.saturating_sub(executed.saturating_sub(1) as u16);
        let expected = if tries == 0 { 0x6983 } else { 0x63C0 | tries };
        prop_assert_eq!(terminal.pin_status(), expected);
    }

    /// The host's commands with whatever they carry, while sessions are open.
    #[test]
    fn host_commands_about_pairing_are_answered(
        kind in 0u8..6,
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        disturbed in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        use cardhost_wire::pairing::PairingCommand;
        let (mut terminal, session) = at(Moment::Paired);
        let mut list = List::new(1, &[&serial(2)]).signed();
        for (index, value) in disturbed {
            let index = index.index(list.len());
            list[index] ^= value;
        }
        let asked = match kind {
            0 => PairingCommand::Request(bytes),
            1 => PairingCommand::Certify {
                certificate: bytes.clone(),
                card_authority: list,
                terminal_authority: bytes,
            },
            2 => PairingCommand::Revoke(bytes),
            3 => PairingCommand::Revoke(list),
            4 => PairingCommand::Delete(0x61),
            _ => PairingCommand::Read,
        };
        drop(command(&mut terminal, asked));
        prop_assert_eq!(read(&mut terminal).pairings.len(), 1);
        prop_assert!(session.unwrap().send(&mut terminal, &hex("00A4040C")).is_ok());
        terminal.card().reset(Port::Apdu(Protocol::ApduGate));
        terminal.restarted_at_root();
    }
}
