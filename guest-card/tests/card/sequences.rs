//! Sequences of commands from personalised states: over all protocols and channels, by terminal and host together,
//! with commits that fail and power cuts in between. Prints how much of the card they reach.

use std::{cell::RefCell, collections::BTreeSet, io::Write};

use cardhost_wire::{
    apdu::CommandApdu,
    control::Command,
    pairing::PAIRING_DOMAIN,
    port::{Port, Protocol},
    tlv::object,
};
use proptest::{
    prelude::*,
    test_runner::{TestRng, TestRunner},
};

use crate::{
    control,
    harness::{PIN, PUK, Terminal},
    off_card::{self, OffCard, Set, put_key},
};

const CASES: u32 = 300;
const LONG_CASES: u32 = 30_000;
/// Fewer pairs of instruction and status than this mean that the sequences no longer reach the card.
const LEAST_COVERAGE: usize = 200;

/// Pairs of a known instruction and status word.
type Coverage = RefCell<BTreeSet<(u8, u16)>>;

#[derive(Debug)]
enum Step {
    Apdu {
        protocol: Protocol,
        cla: u8,
        ins: u8,
        p1: u8,
        p2: u8,
        data: Vec<u8>,
        le: Option<u32>,
        extended: bool,
    },
    Bytes(Vec<u8>),
    Host(Command),
    Authenticate,
    /// Opens a secure channel to what is selected, and sends commands through it.
    Secured {
        level: u8,
        commands: Vec<([u8; 3], Vec<u8>)>,
    },
    PutKey(u8),
    Generate(u8),
    Willing(usize),
    Reset(Protocol),
    PowerCut,
}

const INSTRUCTIONS: [u8; 32] = [
    0xC2, 0x2A, 0x50, 0x82, 0x88, 0xCA, 0xD8, 0xE2, 0xE4, 0xE6, 0xF0, 0xF1, 0xF2, 0x20, 0x24, 0x2C, 0x47,
    0x70, 0x87, 0xA4, 0xC0, 0xCB, 0xDB, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA, 0xFB, 0xFD, 0xFE, 0xFF,
];
const PARAMETERS: [(u8, u8); 34] = [
    (0x30, 0x00),
    (0x01, 0x10),
    (0x01, 0x13),
    (0x33, 0x00),
    (0x00, 0x66),
    (0x00, 0xE0),
    (0x00, 0x13),
    (0x90, 0x00),
    (0x0C, 0x00),
    (0x40, 0x02),
    (0x40, 0x80),
    (0x80, 0x07),
    (0x00, 0x80),
    (0x00, 0x81),
    (0xFF, 0x80),
    (0x3F, 0xFF),
    (0x00, 0x00),
    (0x04, 0x00),
    (0x04, 0x0C),
    (0x80, 0x01),
    (0x00, 0x02),
    (0x11, 0x9A),
    (0x11, 0x9C),
    (0x14, 0x9E),
    (0x03, 0x9B),
    (0x0A, 0x9B),
    (0x00, 0x9A),
    (0x00, 0x9D),
    (0x00, 0x9E),
    (0x00, 0x9B),
    (0xFF, 0x9E),
    (0x82, 0x9A),
    (0x11, 0x9B),
    (0xFF, 0xFF),
];
const TAGS: [u32; 13] = [0x5C, 0x53, 0x7C, 0x80, 0x81, 0x82, 0x85, 0xAC, 0xAA, 0xAB, 0x70, 0x71, 0x7E];

fn leaf() -> impl Strategy<Value = Vec<u8>> {
    let known: [&[u8]; 15] = [
        &[],
        PIN,
        PUK,
        b"000000\xFF\xFF",
        &[0x7E],
        &[0x11],
        &[0x14],
        &[7; 32],
        &[7; 48],
        &[0x5F, 0xC1, 0x05],
        &[0x5F, 0xC1, 0x02],
        &[0x5F, 0xFF, 0x11],
        &[0xA0, 0x00, 0x00, 0x03, 0x08],
        &[0xA0, 0x00, 0x00, 0x01, 0x51],
        &[0x5C, 3, 0x5F, 0xC1, 0x05, 0x53, 2, 0x70, 0],
    ];
    let known: Vec<Vec<u8>> = known.into_iter().map(<[u8]>::to_vec).collect();
    prop_oneof![5 => prop::sample::select(known), 1 => prop::collection::vec(any::<u8>(), 0..60)]
}

/// Plain bytes, two of them together, or nested data objects with tags that the card knows.
fn data() -> impl Strategy<Value = Vec<u8>> {
    let nested = leaf().prop_recursive(3, 12, 3, |inner| {
        let one = (prop::sample::select(&TAGS[..]), inner).prop_map(|(tag, value)| object(tag, &value));
        prop::collection::vec(one, 1..3).prop_map(|objects| objects.concat())
    });
    let templates: Vec<Vec<u8>> = [
        vec![0xAC, 3, 0x80, 1, 0x11],
        vec![0x5C, 3, 0x5F, 0xC1, 0x05],
        vec![0x5C, 1, 0x7E],
        PAIRING_DOMAIN.to_vec(),
        vec![0x4F, 0],
        vec![1, 0xF0, 1, 0],
        vec![0xD2, 1, 1],
        vec![0x42, 1, 7],
        vec![0xA6, 4, 0x83, 2, 0x13, 1, 0xBF, 0x21, 2, 0x30, 0],
        crate::harness::hex("07A000000151535008A00000015153504105A00000090101800000"),
        crate::harness::hex("4F05A000000901"),
        vec![0x7C, 2, 0x81, 0],
        vec![0x7C, 2, 0x80, 0],
        object(0x7C, &[object(0x82, &[]), object(0x81, &[7; 32])].concat()),
        object(0x7C, &[object(0x82, &[]), object(0x81, &[7; 48])].concat()),
        [PIN, PIN].concat(),
        [PUK, PIN].concat(),
        [&[0x03, 0x9B, 24][..], &crate::harness::MANAGEMENT_KEY].concat(),
    ]
    .into();
    prop_oneof![2 => leaf(), 3 => nested, 4 => prop::sample::select(templates)]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![8 => Just(Protocol::ApduGate), 1 => prop::sample::select(&Protocol::ALL[..])]
}

fn apdu() -> impl Strategy<Value = Step> {
    let cla = prop_oneof![
        12 => Just(0x00),
        2 => prop::sample::select(&[0x01, 0x10, 0x80, 0x02, 0x84][..]),
        1 => any::<u8>()
    ];
    let ins = prop_oneof![12 => prop::sample::select(&INSTRUCTIONS[..]), 1 => any::<u8>()];
    let parameters = prop_oneof![8 => prop::sample::select(&PARAMETERS[..]), 1 => any::<(u8, u8)>()];
    let le = prop::option::of(prop_oneof![Just(256), 1u32..=65_536]);
    (protocol(), cla, ins, parameters, data(), le, any::<bool>()).prop_map(
        |(protocol, cla, ins, (p1, p2), data, le, extended)| Step::Apdu {
            protocol,
            cla,
            ins,
            p1,
            p2,
            data,
            le,
            extended,
        },
    )
}

fn secured() -> impl Strategy<Value = Step> {
    let ins = prop_oneof![12 => prop::sample::select(&INSTRUCTIONS[..]), 1 => any::<u8>()];
    let parameters = prop_oneof![8 => prop::sample::select(&PARAMETERS[..]), 1 => any::<(u8, u8)>()];
    let command = (ins, parameters, data()).prop_map(|(ins, (p1, p2), data)| ([ins, p1, p2], data));
    let level = prop::sample::select(&[0x00, 0x01, 0x03, 0x11, 0x13, 0x33][..]);
    (level, prop::collection::vec(command, 1..8))
        .prop_map(|(level, commands)| Step::Secured { level, commands })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => apdu(),
        2 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Step::Bytes),
        6 => control::command().prop_map(Step::Host),
        2 => Just(()).prop_map(|()| Step::Authenticate),
        4 => secured(),
        1 => prop::sample::select(&[0x01, 0x50, 0x60][..]).prop_map(Step::PutKey),
        2 => prop::sample::select(&[0x9A, 0x9C, 0x9D, 0x9E][..]).prop_map(Step::Generate),
        1 => (0usize..3).prop_map(Step::Willing),
        1 => protocol().prop_map(Step::Reset),
        1 => Just(()).prop_map(|()| Step::PowerCut),
    ]
}

/// Does one step; the card that comes out is another one after a power cut.
fn take(mut terminal: Terminal, step: Step, coverage: &Coverage) -> Terminal {
    match step {
        Step::Apdu { protocol, cla, ins, p1, p2, data, le, extended } => {
            let bytes = CommandApdu { cla, ins, p1, p2, data: &data, le, extended }.to_bytes();
            send(&mut terminal, protocol, &bytes, coverage);
        }
        Step::Bytes(bytes) => send(&mut terminal, Protocol::ApduGate, &bytes, coverage),
        Step::Host(command) => drop(terminal.command(command)),
        Step::Authenticate => drop(terminal.authenticate_with(0x03, &crate::harness::MANAGEMENT_KEY)),
        Step::Secured { level, commands } => through_a_channel(&mut terminal, level, commands, coverage),
        Step::PutKey(kvn) => put(&mut terminal, kvn),
        Step::Generate(slot) => drop(terminal.send(0x47, 0, slot, &[0xAC, 3, 0x80, 1, 0x11])),
        Step::Willing(commits) => terminal.host().willing = commits,
        Step::Reset(protocol) => terminal.card().reset(Port::Apdu(protocol)),
        Step::PowerCut => return terminal.restarted_at_root(),
    }
    terminal
}

/// The card may have other keys by now, or none that opens a channel to what is selected.
fn through_a_channel(
    terminal: &mut Terminal,
    level: u8,
    commands: Vec<([u8; 3], Vec<u8>)>,
    coverage: &Coverage,
) {
    let Ok(mut off_card) = OffCard::open(terminal, &Set::well_known(), level) else { return };
    for ([ins, p1, p2], data) in commands {
        let command = off_card.wrap([0x80, ins, p1, p2], &data);
        send(terminal, Protocol::ApduGate, &command, coverage);
    }
}

fn put(terminal: &mut Terminal, kvn: u8) {
    off_card::select(terminal, &off_card::ISSUER);
    let Ok(mut off_card) = OffCard::open(terminal, &Set::well_known(), 0x33) else { return };
    let data = put_key(&off_card, &Set::made_up(kvn, 16)).0;
    terminal.transmit(&off_card.wrap([0x80, 0xD8, 0, 0x81], &data));
}

fn send(terminal: &mut Terminal, protocol: Protocol, bytes: &[u8], coverage: &Coverage) {
    let answer = terminal.card().transmit(Port::Apdu(protocol), bytes).unwrap();
    let (_, &status) = answer.split_last_chunk().unwrap();
    let status = u16::from_be_bytes(status);
    assert!(matches!(status >> 12, 6 | 9) && status != 0x6F00, "{status:04X} for {}", hex::encode(bytes));
    // One class for all lengths and counters that a status word may carry.
    let class = if matches!(status >> 8, 0x61 | 0x6C) { status & 0xFF00 } else { status };
    let known = bytes.get(1).filter(|ins| INSTRUCTIONS.contains(ins));
    coverage.borrow_mut().extend(known.map(|&ins| (ins, class)));
}

fn run(personalised: bool, steps: Vec<Step>, coverage: &Coverage) {
    let terminal = if personalised { Terminal::new() } else { Terminal::blank() };
    let mut terminal = steps.into_iter().fold(terminal, |terminal, step| take(terminal, step, coverage));
    let told = terminal.host().credentials.clone();
    assert_eq!(terminal.restarted_at_root().started().credentials, told);
}

#[test]
fn any_sequence_is_answered_and_leaves_a_card_that_opens() {
    let long = std::env::var_os("CARDHOST_TESTS_LONG").is_some();
    let config = ProptestConfig::with_cases(if long { LONG_CASES } else { CASES });
    let mut runner = if long {
        TestRunner::new(config)
    } else {
        let rng = TestRng::deterministic_rng(config.rng_algorithm);
        TestRunner::new_with_rng(config, rng)
    };
    let coverage = Coverage::default();
    let sequences = (prop::bool::weighted(0.9), prop::collection::vec(step(), 1..60));
    let outcome = runner.run(&sequences, |(personalised, steps)| {
        run(personalised, steps, &coverage);
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    report(&coverage.borrow());
}

/// Straight to standard error, which the test harness does not hold back.
fn report(coverage: &BTreeSet<(u8, u16)>) {
    let instructions: BTreeSet<u8> = coverage.iter().map(|(ins, _)| *ins).collect();
    let (pairs, instructions) = (coverage.len(), instructions.len());
    let line =
        format!("sequences reached {pairs} pairs of instruction and status, {instructions} instructions\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    assert!(pairs >= LEAST_COVERAGE, "only {pairs}");
}
