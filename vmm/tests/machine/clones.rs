//! A thousand copies of one template share nothing that has to be random.

use std::collections::HashSet;

use cardhost_wire::{
    control::{Answer, Command, Commit, GuestMessage, HostMessage},
    key::{Algorithm, KeyReference, Secret},
    port::Port,
};

use crate::{
    card::{Card, GATE},
    guest::Guest,
    launcher::kvm,
    pool,
};

const CLONES: usize = 1_000;
/// How many live at a time.
const TOGETHER: usize = 50;
/// A distinguished name: CN=A.
const SUBJECT: [u8; 14] =
    [0x30, 0x0C, 0x31, 0x0A, 0x30, 0x08, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0C, 0x01, 0x41];
const SELECT_PIV: [u8; 10] = [0x00, 0xA4, 0x04, 0x00, 0x05, 0xA0, 0x00, 0x00, 0x03, 0x08];
/// GENERAL AUTHENTICATE with the management key, AES-256: asks for a challenge (SP 800-73-5, part 2, 3.2.4).
const ASK_CHALLENGE: [u8; 10] = [0x00, 0x87, 0x0C, 0x9B, 0x04, 0x7C, 0x02, 0x81, 0x00, 0x00];
/// Version and nonce, where a sealed record begins.
const NONCE: std::ops::Range<usize> = 1..13;

/// What must never be seen twice.
#[derive(Default)]
struct Seen {
    nonces: HashSet<Vec<u8>>,
    requests: HashSet<Vec<u8>>,
    challenges: HashSet<Vec<u8>>,
}

impl Seen {
    fn commit(&mut self, commit: &Commit) {
        let sealed = commit.put.iter().map(|record| &record.sealed).chain([&commit.head]);
        for sealed in sealed {
            assert!(self.nonces.insert(sealed[NONCE].to_vec()), "a nonce is repeated");
        }
    }
}

/// The hardest case: all are starts of the same card with the same key, so that only seed and processor differ. Some of
/// them have waited for it.
#[test]
fn a_thousand_clones_repeat_no_nonce_key_or_challenge() {
    if !kvm() {
        return;
    }
    let launcher = pool::launcher(Guest::card());
    let wrapped_key = launcher.card().wrapped_key;
    let mut seen = Seen::default();
    for _ in 0..CLONES / TOGETHER {
        let start = |_| launcher.card_with(|start| start.wrapped_key = Some(wrapped_key.clone())).started();
        let mut cards: Vec<Card> = (0..TOGETHER).map(start).collect();
        cards.iter_mut().for_each(|card| use_randomness(card, &mut seen));
    }
    assert_eq!((seen.requests.len(), seen.challenges.len()), (CLONES, CLONES));
    assert!(seen.nonces.len() > 2 * CLONES);
}

fn use_randomness(card: &mut Card, seen: &mut Seen) {
    let secret = |text: &[u8]| Some(Secret(text.to_vec()));
    let personalise =
        Command::Personalise { pin: secret(b"123456"), puk: secret(b"12345678"), management_key: None };
    assert!(matches!(command(card, 1, personalise, seen), Answer::Done | Answer::Secrets { .. }));
    let generate = Command::GenerateKey {
        key_reference: KeyReference::AUTHENTICATION,
        algorithm: Algorithm::P256,
        subject: SUBJECT.to_vec(),
    };
    let Answer::CertificationRequest(request) = command(card, 2, generate, seen) else {
        panic!("no request")
    };
    assert!(seen.requests.insert(request), "a key is repeated");
    assert!(card.apdu(&SELECT_PIV).ends_with(&[0x90, 0x00]));
    let challenge = card.apdu(&ASK_CHALLENGE);
    assert!(challenge.ends_with(&[0x90, 0x00]) && challenge.len() > 16, "{challenge:02X?}");
    assert!(seen.challenges.insert(challenge), "a challenge is repeated");
    card.link.send(cardhost_wire::link::Kind::Close, GATE.number(), &[]);
}

/// Has the card do something; its commits are durable at once.
fn command(card: &mut Card, number: u32, command: Command, seen: &mut Seen) -> Answer {
    let mut message = card.link.exchange(Port::Control, &HostMessage::Command(number, command).encode());
    loop {
        match GuestMessage::decode(&message).unwrap() {
            GuestMessage::Commit(commit) => {
                seen.commit(&commit);
                message = card.link.exchange(Port::Control, &HostMessage::Committed(commit.epoch).encode());
            }
            GuestMessage::Answer(_, answer) => return answer.unwrap(),
            other => panic!("{other:?}"),
        }
    }
}
