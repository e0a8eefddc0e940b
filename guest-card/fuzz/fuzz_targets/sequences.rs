//! Sequences of command APDUs, host commands, failing commits and power cuts on a card with keys.
#![no_main]

#[path = "../../tests/piv/harness.rs"]
mod harness;

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use cardhost_wire::{
    apdu::CommandApdu,
    control::Command,
    key::{Algorithm, KeyReference, Secret},
    port::{Port, Protocol},
};
use harness::{Host, MANAGEMENT_KEY, PIN, Terminal};
use libfuzzer_sys::fuzz_target;

/// Longer sequences find no more but take longer.
const MOST_STEPS: usize = 64;

#[derive(Arbitrary, Debug)]
enum Step {
    Apdu { protocol: u8, header: [u8; 4], data: Vec<u8>, le: Option<u16>, extended: bool },
    Bytes(Vec<u8>),
    Personalise([Option<Vec<u8>>; 3]),
    PendingSecrets,
    AcknowledgeSecrets,
    GenerateKey(u8, bool, Vec<u8>),
    RenewalRequest(u8),
    ImportCertificate(u8, Vec<u8>),
    ReadCertificate(u8),
    DeleteCredential(u8),
    SignChallenge(u8, Option<Vec<u8>>),
    Verify,
    Authenticate,
    Willing(u8),
    Reset(u8),
    PowerCut,
}

/// What the host stores of a card with a key in each of three slots and a data object.
static STORED: LazyLock<Host> = LazyLock::new(|| {
    let mut terminal = Terminal::new();
    terminal.authenticate();
    for (slot, algorithm) in [(0x9A, 0x11), (0x9C, 0x14), (0x9E, 0x11)] {
        terminal.generate(slot, algorithm);
    }
    terminal.ok(0xDB, 0x3F, 0xFF, &[0x5C, 3, 0x5F, 0xC1, 0x05, 0x53, 4, 0x70, 2, 0x30, 0]);
    terminal.host().clone()
});

fuzz_target!(|steps: Vec<Step>| {
    let terminal = Terminal::start(STORED.clone(), false);
    let mut terminal = steps.into_iter().take(MOST_STEPS).fold(terminal, take);
    let told = terminal.host().credentials.clone();
    assert!(terminal.restarted().started().credentials == told);
});

fn take(mut terminal: Terminal, step: Step) -> Terminal {
    match step {
        Step::Apdu { protocol, header, data, le, extended } => {
            let [cla, ins, p1, p2] = header;
            let le = le.map(|le| u32::from(le) + 1);
            let command = CommandApdu { cla, ins, p1, p2, data: &data, le, extended };
            send(&mut terminal, port(protocol), &command.to_bytes());
        }
        Step::Bytes(bytes) => send(&mut terminal, port(0), &bytes),
        Step::Verify => drop(terminal.verify(PIN)),
        Step::Authenticate => drop(terminal.authenticate_with(0x03, &MANAGEMENT_KEY)),
        Step::Willing(commits) => terminal.host().willing = usize::from(commits),
        Step::Reset(protocol) => terminal.card().reset(port(protocol)),
        Step::PowerCut => return terminal.restarted(),
        step => drop(command(step).map(|command| terminal.command(command))),
    }
    terminal
}

fn command(step: Step) -> Option<Command> {
    Some(match step {
        Step::Personalise(secrets) => {
            let [pin, puk, management_key] = secrets.map(|secret| secret.map(Secret));
            Command::Personalise { pin, puk, management_key }
        }
        Step::PendingSecrets => Command::PendingSecrets,
        Step::AcknowledgeSecrets => Command::AcknowledgeSecrets,
        Step::GenerateKey(slot, large, subject) => {
            let algorithm = if large { Algorithm::P384 } else { Algorithm::P256 };
            Command::GenerateKey { key_reference: KeyReference(slot), algorithm, subject }
        }
        Step::RenewalRequest(slot) => Command::RenewalRequest(KeyReference(slot)),
        Step::ImportCertificate(slot, certificate) => {
            Command::ImportCertificate { key_reference: KeyReference(slot), certificate }
        }
        Step::ReadCertificate(slot) => Command::ReadCertificate(KeyReference(slot)),
        Step::DeleteCredential(slot) => Command::DeleteCredential(KeyReference(slot)),
        Step::SignChallenge(slot, pin) => {
            let (key_reference, pin) = (KeyReference(slot), pin.map(Secret));
            Command::SignChallenge { key_reference, challenge: [0; 32], pin }
        }
        _ => return None,
    })
}

fn port(protocol: u8) -> Port {
    Port::Apdu(Protocol::ALL[usize::from(protocol) % Protocol::ALL.len()])
}

fn send(terminal: &mut Terminal, port: Port, bytes: &[u8]) {
    if makes_rsa_key(bytes) {
        return;
    }
    let answer = terminal.card().transmit(port, bytes).unwrap();
    let status = u16::from_be_bytes(*answer.last_chunk().unwrap());
    assert!(matches!(status >> 12, 6 | 9) && status != 0x6F00, "{status:04X}");
}

/// RSA keys take seconds to make.
fn makes_rsa_key(bytes: &[u8]) -> bool {
    bytes.windows(3).any(|window| matches!(window, [0x80, 1, 0x05 | 0x06 | 0x07]))
}
