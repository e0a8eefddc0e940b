//! Requests to the ISD-R, commands to the UICC's files and the host's commands about profiles: whatever comes, the card
//! answers a status word, enables one profile at most, tells the host the profiles that it has, and opens again.
#![no_main]

#[path = "../../tests/piv/harness.rs"]
mod harness;
#[path = "../../tests/euicc/local_assistant.rs"]
#[allow(dead_code, reason = "shared with tests")]
mod local_assistant;

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use cardhost_wire::{
    control::{Command, Credential},
    profiles::{ProfileClass, ProfileCommand, isd_p},
    tlv::object,
};
use harness::{Host, Terminal};
use libfuzzer_sys::fuzz_target;
use local_assistant::{card_with, enabled, iccid, install, list, notifying, of_class, open, send};

/// Longer sequences find no more but take longer.
const MOST_STEPS: usize = 48;
/// Profiles that there may be.
const PROFILES: u8 = 6;

#[derive(Arbitrary, Debug)]
enum Step {
    /// A function, in blocks as a client sends it.
    Function {
        tag: u8,
        members: Vec<Member>,
    },
    /// A function of any bytes.
    Bytes(Vec<u8>),
    /// One block.
    Block {
        p1: u8,
        number: u8,
        block: Vec<u8>,
    },
    /// A short command.
    Command {
        header: [u8; 4],
        data: Vec<u8>,
        le: Option<u8>,
    },
    Install {
        number: u8,
        test: bool,
    },
    Delete(u8),
    Willing(u8),
    PowerCut,
}

#[derive(Arbitrary, Debug)]
enum Member {
    Iccid(u8),
    IsdP(u8),
    /// A0 around one of the two.
    Chosen {
        by_aid: bool,
        number: u8,
    },
    Primitive {
        tag: u8,
        value: Vec<u8>,
    },
}

impl Member {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Iccid(number) => object(0x5A, &iccid(usize::from(number % PROFILES)).coded()),
            Self::IsdP(place) => object(0x4F, &isd_p(place % 8)),
            Self::Chosen { by_aid: true, number } => object(0xA0, &Self::IsdP(*number).bytes()),
            Self::Chosen { number, .. } => object(0xA0, &Self::Iccid(*number).bytes()),
            Self::Primitive { tag, value } => object(u32::from(*tag) & 0xDF, value),
        }
    }
}

/// What the host stores of a card with two profiles.
static STORED: LazyLock<Host> =
    LazyLock::new(|| card_with([notifying(0), of_class(1, ProfileClass::Test)]).host().clone());

fuzz_target!(|steps: Vec<Step>| {
    let mut terminal = Terminal::start(STORED.clone(), false);
    open(&mut terminal);
    let mut terminal = steps.into_iter().take(MOST_STEPS).fold(terminal, take);
    let (told, in_force) = (list(&mut terminal), enabled(&mut terminal));
    let profiles = told.iter().map(|profile| Credential::Profile(profile.metadata.iccid));
    let credentials: Vec<_> = profiles.collect();
    assert_eq!(terminal.host().credentials, credentials);
    let mut terminal = terminal.restarted();
    assert_eq!(terminal.started().credentials, credentials);
    assert_eq!(list(&mut terminal), told);
    assert_eq!(enabled(&mut terminal), in_force);
});

fn take(mut terminal: Terminal, step: Step) -> Terminal {
    match step {
        Step::Function { tag, members } => {
            let members: Vec<_> = members.iter().flat_map(Member::bytes).collect();
            request(&mut terminal, &object(0xBF00 | u32::from(tag & 0x7F), &members));
        }
        Step::Bytes(bytes) => request(&mut terminal, &bytes),
        Step::Block { p1, number, block } => command(&mut terminal, [0x81, 0xE2, p1, number], &block, None),
        Step::Command { header, data, le } => command(&mut terminal, header, &data, le),
        Step::Install { number, test } => {
            let number = usize::from(number % PROFILES);
            let new = if test { of_class(number, ProfileClass::Test) } else { notifying(number) };
            drop(install(&mut terminal, new));
        }
        Step::Delete(number) => {
            let delete = ProfileCommand::Delete(iccid(usize::from(number % PROFILES)));
            drop(terminal.command(Command::Profile(delete)));
        }
        Step::Willing(commits) => terminal.host().willing = usize::from(commits),
        Step::PowerCut => {
            terminal = terminal.restarted();
            open(&mut terminal);
        }
    }
    terminal
}

fn request(terminal: &mut Terminal, request: &[u8]) {
    let blocks: Vec<_> = request.chunks(120).collect();
    for (number, block) in blocks.iter().enumerate() {
        let p1 = if number + 1 == blocks.len() { 0x91 } else { 0x11 };
        command(terminal, [0x81, 0xE2, p1, number as u8], block, None);
    }
}

fn command(terminal: &mut Terminal, header: [u8; 4], data: &[u8], le: Option<u8>) {
    let data = &data[..data.len().min(255)];
    let length = (!data.is_empty()).then_some(data.len() as u8);
    let (_, status) = send(terminal, &[&header[..], length.as_slice(), data, le.as_slice()].concat());
    assert!(matches!(status >> 12, 6 | 9) && status != 0x6F00, "{status:04X}");
}
