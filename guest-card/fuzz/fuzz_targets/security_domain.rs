//! Commands to security domains and PIV through secure channels, and messages that only look like it: what is
//! unwrapped, installed, stored, put and certified.
#![no_main]

#[path = "../../tests/isd/certificate.rs"]
mod certificate;
#[path = "../../tests/piv/harness.rs"]
mod harness;
#[path = "../../tests/isd/off_card.rs"]
mod off_card;

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use cardhost_wire::port::{Port, Protocol};
use certificate::{Use, certificate, key};
use harness::{Host, Terminal};
use libfuzzer_sys::fuzz_target;
use off_card::{OffCard, Set, put_key, send};

/// Longer sequences find no more but take longer.
const MOST_STEPS: usize = 48;
const LEVELS: [u8; 5] = [0x01, 0x03, 0x11, 0x13, 0x33];

#[derive(Arbitrary, Debug)]
enum Step {
    /// Opens a channel to the application with this AID, or what is selected.
    Open {
        aid: Option<Vec<u8>>,
        level: u8,
    },
    /// Through the channel.
    Secured {
        header: [u8; 4],
        data: Vec<u8>,
    },
    /// As if through the channel.
    Forged {
        header: [u8; 3],
        data: Vec<u8>,
    },
    /// In plain, where set-ups are.
    Plain {
        header: [u8; 3],
        data: Vec<u8>,
    },
    PutKey(u8),
    /// A certificate by the authority's key, disturbed at some places.
    Certify {
        more: bool,
        disturbed: Vec<(u16, u8)>,
    },
    Willing(u8),
    PowerCut,
}

/// A certificate that the authority's key has signed.
static CERTIFICATE: LazyLock<Vec<u8>> = LazyLock::new(|| certificate(0x21, &key(3), Use::Agreement, &key(1)));

/// What the host stores of a card with a key for each SCP11, an authority's key and a further domain.
static STORED: LazyLock<Host> = LazyLock::new(|| {
    let mut terminal = Terminal::new();
    let mut issuer = OffCard::issuer(&mut terminal);
    for kid in [0x11, 0x13, 0x15] {
        issuer.ok(&mut terminal, [0x80, 0xF1, 0, kid], &[1, 0xF0, 1, 0]);
    }
    let authority = [&[4, 0xB0, 65][..], key(1).public_key().as_bytes(), &[0xF0, 1, 0, 0]].concat();
    issuer.ok(&mut terminal, [0x80, 0xD8, 0, 0x10], &authority);
    let install = harness::hex("07A000000151535008A00000015153504105A00000090101800000");
    issuer.ok(&mut terminal, [0x80, 0xE6, 0x0C, 0], &install);
    terminal.host().clone()
});

fuzz_target!(|steps: Vec<Step>| {
    let mut terminal = Terminal::start(STORED.clone(), false);
    let mut off_card = OffCard::issuer(&mut terminal);
    for step in steps.into_iter().take(MOST_STEPS) {
        terminal = take(terminal, &mut off_card, step);
    }
    terminal.restarted_at_root();
});

fn take(mut terminal: Terminal, off_card: &mut OffCard, step: Step) -> Terminal {
    match step {
        Step::Open { aid, level } => open(&mut terminal, off_card, aid, level),
        Step::Secured { header, data } if header[1] != 0xC0 => {
            let command = off_card.wrap([header[0] & 0x80, header[1], header[2], header[3]], &data);
            check(&mut terminal, &command);
        }
        Step::Forged { header: [ins, p1, p2], data } => {
            let command = [&[0x84, ins, p1, p2, 0][..], &(data.len() as u16).to_be_bytes(), &data].concat();
            check(&mut terminal, &command);
        }
        Step::Plain { header: [ins, p1, p2], data } => drop(send(&mut terminal, [0x80, ins, p1, p2], &data)),
        Step::PutKey(kvn) => {
            let data = put_key(off_card, &Set::made_up(kvn, 16)).0;
            let command = off_card.wrap([0x80, 0xD8, 0, 0x81], &data);
            check(&mut terminal, &command);
        }
        Step::Certify { more, disturbed } => certify(&mut terminal, more, &disturbed),
        Step::Willing(commits) => terminal.host().willing = usize::from(commits),
        Step::PowerCut => return terminal.restarted_at_root(),
        Step::Secured { .. } => {}
    }
    terminal
}

fn certify(terminal: &mut Terminal, more: bool, disturbed: &[(u16, u8)]) {
    let mut certificate = CERTIFICATE.clone();
    for (at, value) in disturbed {
        let at = usize::from(*at) % certificate.len();
        certificate[at] ^= value;
    }
    send(terminal, [0x80, 0x2A, 4, 0x10 | u8::from(more) << 7], &certificate);
}

fn open(terminal: &mut Terminal, off_card: &mut OffCard, aid: Option<Vec<u8>>, level: u8) {
    if let Some(aid) = aid.filter(|aid| aid.len() <= 16) {
        off_card::select(terminal, &aid);
    }
    let level = LEVELS[usize::from(level) % LEVELS.len()];
    if let Ok(opened) = OffCard::open(terminal, &Set::well_known(), level) {
        *off_card = opened;
    }
}

fn check(terminal: &mut Terminal, command: &[u8]) {
    let answer = terminal.card().transmit(Port::Apdu(Protocol::ApduGate), command).unwrap();
    let status = u16::from_be_bytes(*answer.last_chunk().unwrap());
    assert!(matches!(status >> 12, 6 | 9) && status != 0x6F00, "{status:04X}");
}
