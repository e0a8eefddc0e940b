//! Pairing from both sides: set-ups and sessions with messages that are real, disturbed, doubled or made up, the host's
//! certificates and lists, failing commits and power cuts. What the terminal did not send is not executed.
#![no_main]

#[path = "../../tests/pairing/authority.rs"]
mod authority;
#[path = "../../tests/isd/certificate.rs"]
mod certificate;
#[path = "../../tests/pairing/device.rs"]
mod device;
#[path = "../../tests/piv/harness.rs"]
mod harness;
#[path = "../../tests/isd/off_card.rs"]
mod off_card;

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use authority::{AUTHORITY, CARDS, List, certification, certified, certify_card, command};
use cardhost_wire::{
    pairing::{PairingCommand, PairingPolicy},
    port::{Port, Protocol},
};
use device::{Device, Session, authenticate, select, serial};
use harness::{Host, PIN, Terminal};
use libfuzzer_sys::fuzz_target;
use off_card::{Set, send};

/// Longer sequences find no more but take longer.
const MOST_STEPS: usize = 48;
/// Steps of a sequence that compute with public keys: each takes as long as hundreds of others.
const MOST_PUBLIC: usize = 3;
const TERMINALS: u8 = 4;

#[derive(Arbitrary, Debug)]
enum Step {
    SetUp(u8),
    /// In a set-up, perhaps with the PIN before.
    PutKey {
        verified: bool,
        kvn: u8,
    },
    Authenticate(u8),
    Inside(Vec<u8>),
    /// A real message, disturbed at some places.
    Disturbed {
        inside: Vec<u8>,
        at: Vec<(u16, u8)>,
    },
    Plain(Vec<u8>),
    /// To the pairing security domain in plain.
    Domain {
        secured: bool,
        header: [u8; 3],
        data: Vec<u8>,
    },
    /// A terminal's certificate, disturbed at some places.
    Certificate(Vec<(u16, u8)>),
    Select,
    Host(Asked),
    Reset,
    Protocol(u8),
    Willing(u8),
    PowerCut,
}

#[derive(Arbitrary, Debug)]
enum Asked {
    Request(Vec<u8>),
    /// The certificate disturbed, by authorities of which some are right.
    Certify {
        disturbed: Vec<(u16, u8)>,
        cards: bool,
        terminals: bool,
    },
    Revoke {
        number: u8,
        terminals: Vec<u8>,
        disturbed: Vec<(u16, u8)>,
    },
    Made(Vec<u8>),
    Delete(u8),
    Policy(bool),
}

/// What the host stores of a card that the authority has certified, with one pairing.
static STORED: LazyLock<Host> = LazyLock::new(|| {
    let mut terminal = certified();
    Device::new(0).pair(&mut terminal, 0x60).unwrap();
    terminal.host().clone()
});

/// The card's certificate.
static CERTIFICATE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let request = authority::request(&mut Terminal::start(STORED.clone(), false));
    certify_card(&request, CARDS)
});

static DEVICES: LazyLock<Vec<Device>> = LazyLock::new(|| (0..TERMINALS).map(Device::new).collect());

fuzz_target!(|steps: Vec<Step>| {
    let mut card = Card { terminal: Terminal::start(STORED.clone(), false), session: None, public: 0 };
    for step in steps.into_iter().take(MOST_STEPS) {
        card = card.take(step);
    }
    card.terminal.restarted_at_root();
});

struct Card {
    terminal: Terminal,
    /// The last one that was opened, on whatever protocol and perhaps over.
    session: Option<Session>,
    /// Steps with public keys so far.
    public: usize,
}

impl Step {
    const fn is_public(&self) -> bool {
        matches!(
            self,
            Self::SetUp(_)
                | Self::Certificate(_)
                | Self::Host(Asked::Request(_) | Asked::Certify { .. } | Asked::Revoke { .. })
        )
    }
}

impl Card {
    fn take(mut self, step: Step) -> Self {
        self.public += usize::from(step.is_public());
        match step {
            step if step.is_public() && self.public > MOST_PUBLIC => {}
            Step::SetUp(number) => {
                let device = &DEVICES[usize::from(number % TERMINALS)];
                self.session = device.set_up(&mut self.terminal).ok();
            }
            Step::PutKey { verified, kvn } => self.put_key(verified, kvn),
            Step::Authenticate(kvn) => {
                self.session = authenticate(&mut self.terminal, &Set::made_up(kvn, 16)).ok();
            }
            Step::Inside(inside) => self.inside(&inside),
            Step::Disturbed { inside, at } => self.disturbed(&inside, &at),
            Step::Plain(message) => self.check(&message),
            Step::Domain { secured, header: [ins, p1, p2], data } => {
                let data = &data[..data.len().min(65_535)];
                drop(send(&mut self.terminal, [0x80 | u8::from(secured) << 2, ins, p1, p2], data));
            }
            Step::Certificate(at) => {
                let certificate = disturb(DEVICES[1].certificate.clone(), &at);
                drop(send(&mut self.terminal, [0x80, 0x2A, 1, 0x10], &certificate));
            }
            Step::Select => drop(select(&mut self.terminal)),
            Step::Host(asked) => self.host(asked),
            Step::Reset => {
                let port = Port::Apdu(self.terminal.protocol);
                self.terminal.card().reset(port);
            }
            Step::Protocol(number) => {
                self.terminal.protocol = Protocol::ALL[usize::from(number) % Protocol::ALL.len()];
            }
            Step::Willing(commits) => self.terminal.host().willing = usize::from(commits),
            Step::PowerCut => self.terminal = self.terminal.restarted_at_root(),
        }
        self
    }

    fn put_key(&mut self, verified: bool, kvn: u8) {
        if verified {
            self.inside(&[&[0x00, 0x20, 0x00, 0x80, 8], PIN].concat());
        }
        if let Some(session) = &self.session {
            let data = session.key_data(&Set::made_up(kvn, 16));
            self.inside(&device::put_key_command(&data));
        }
    }

    fn inside(&mut self, inside: &[u8]) {
        let Some(session) = &mut self.session else { return };
        let wrapped = session.wrap(inside);
        let answer = self.terminal.transmit(&wrapped);
        match session.unwrap(&answer) {
            Ok(response) => assert_status(&response),
            Err(_) => self.session = None,
        }
    }

    /// Nothing of a session comes out, because nothing went in.
    fn disturbed(&mut self, inside: &[u8], at: &[(u16, u8)]) {
        let Some(session) = &mut self.session else { return };
        let wrapped = session.wrap(inside);
        let disturbed = disturb(wrapped.clone(), at);
        // Le is not protected: the last two bytes.
        if disturbed[..wrapped.len() - 2] != wrapped[..wrapped.len() - 2] {
            let answer = self.terminal.transmit(&disturbed);
            assert_eq!(answer.len(), 2, "{}", hex::encode(answer));
        }
        self.session = None;
    }

    fn check(&mut self, message: &[u8]) {
        let answer = self.terminal.transmit(message);
        assert_status(&answer);
    }

    fn host(&mut self, asked: Asked) {
        let asked = match asked {
            Asked::Request(subject) => PairingCommand::Request(subject),
            Asked::Certify { disturbed, cards, terminals } => {
                let certificate = disturb(CERTIFICATE.clone(), &disturbed);
                let seed = |right, seed| if right { seed } else { 2 };
                certification(certificate, seed(cards, CARDS), seed(terminals, AUTHORITY))
            }
            Asked::Revoke { number, terminals, disturbed } => {
                let serials = terminals.iter().map(|number| serial(number % TERMINALS)).collect();
                let list = List { serials, ..List::new(number, &[]) };
                PairingCommand::Revoke(disturb(list.signed(), &disturbed))
            }
            Asked::Made(list) => PairingCommand::Revoke(list),
            Asked::Delete(kvn) => PairingCommand::Delete(kvn),
            Asked::Policy(true) => PairingCommand::SetPolicy(PairingPolicy::PairedOnly),
            Asked::Policy(false) => PairingCommand::SetPolicy(PairingPolicy::Open),
        };
        drop(command(&mut self.terminal, asked));
    }
}

fn disturb(mut bytes: Vec<u8>, at: &[(u16, u8)]) -> Vec<u8> {
    for (at, value) in at {
        let at = usize::from(*at) % bytes.len();
        bytes[at] ^= value;
    }
    bytes
}

fn assert_status(answer: &[u8]) {
    let status = u16::from_be_bytes(*answer.last_chunk().unwrap());
    assert!(matches!(status >> 12, 6 | 9) && status != 0x6F00, "{status:04X}");
}
