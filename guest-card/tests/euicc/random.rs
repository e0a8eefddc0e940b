//! Structure-aware random commands to the UICC: whatever comes, the card answers a status word, enables one profile at
//! most, tells the host the profiles that it has, and opens again.

use cardhost_wire::{
    control::{Command, Credential},
    profiles::ProfileCommand,
    tlv::object,
};
use proptest::prelude::*;

use crate::{
    harness::{Terminal, hex},
    local_assistant::{card_with, enabled, iccid, install, list, notifying, of_class, open, send},
};

const FUNCTIONS: [u32; 18] = [
    0xBF20, 0xBF22, 0xBF28, 0xBF29, 0xBF2B, 0xBF2D, 0xBF2E, 0xBF30, 0xBF31, 0xBF32, 0xBF33, 0xBF34, 0xBF38,
    0xBF3C, 0xBF3E, 0xBF3F, 0xBF43, 0xE3,
];
const TAGS: [u32; 10] = [0x5A, 0x4F, 0x80, 0x81, 0x82, 0x90, 0x95, 0xA0, 0x5C, 0x30];
const COMMANDS: [&str; 14] = [
    "00A4040C07A0000000871002",
    "00A4040C10A0000005591010FFFFFFFF8900000100",
    "00A4040C10A0000005591010FFFFFFFF8900000200",
    "00A4000C023F00",
    "00A4000C022FE2",
    "00A4000C022F00",
    "00A4000C026F07",
    "00A4080C047FFF6F07",
    "00B0000000",
    "00B0870000",
    "00B2010400",
    "80F2000000",
    "80CA005A00",
    "00C0000000",
];

#[derive(Clone, Debug)]
enum Step {
    Request(Vec<u8>),
    Blocks(Vec<(u8, u8, Vec<u8>)>),
    Command(u8, Vec<u8>),
    Install(usize),
    Delete(usize),
    PowerCut,
    Willing(usize),
}

fn identifier() -> impl Strategy<Value = Vec<u8>> {
    let by_iccid = (0..6usize).prop_map(|number| object(0x5A, &iccid(number).coded()));
    let by_aid = (0..4u8).prop_map(|place| object(0x4F, &cardhost_wire::profiles::isd_p(place)));
    prop_oneof![4 => by_iccid, 1 => by_aid]
}

fn right() -> impl Strategy<Value = Vec<u8>> {
    let switch = (prop::sample::select(&[0xBF31, 0xBF32][..]), identifier())
        .prop_map(|(tag, profile)| object(tag, &[object(0xA0, &profile), hex("810100")].concat()));
    let delete = identifier().prop_map(|profile| object(0xBF33, &profile));
    let nickname = (identifier(), "[a-z]{0,8}")
        .prop_map(|(profile, name)| object(0xBF29, &[profile, object(0x90, name.as_bytes())].concat()));
    let other = ["BF2D00", "BF2800", "BF2200", "BF340482020580", "BF340482020640", "BF3003800101", "BF2B00"];
    prop_oneof![6 => switch, 2 => delete, 1 => nickname, 3 => prop::sample::select(other.map(hex).to_vec())]
}

/// Members that no function may take for its own.
fn wrong() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        identifier(),
        prop::collection::vec(any::<u8>(), 0..12),
        (prop::sample::select(&TAGS[..]), prop::collection::vec(any::<u8>(), 0..6))
            .prop_map(|(tag, value)| object(tag, &value)),
    ];
    let members = leaf.prop_recursive(2, 8, 3, |inner| {
        (prop::sample::select(&TAGS[..]), prop::collection::vec(inner, 0..3))
            .prop_map(|(tag, objects)| object(tag, &objects.concat()))
    });
    (prop::sample::select(&FUNCTIONS[..]), members, prop::collection::vec(any::<u8>(), 0..2))
        .prop_map(|(tag, members, behind)| [object(tag, &members), behind].concat())
}

fn step() -> impl Strategy<Value = Step> {
    let block = (
        prop::sample::select(&[0x11, 0x91, 0x90, 0x01][..]),
        0..4u8,
        prop::collection::vec(any::<u8>(), 0..9),
    );
    let command = prop_oneof![
        4 => prop::sample::select(COMMANDS.map(hex).to_vec()),
        1 => prop::collection::vec(any::<u8>(), 4..12),
    ];
    prop_oneof![
        8 => right().prop_map(Step::Request),
        4 => wrong().prop_map(Step::Request),
        1 => prop::collection::vec(block, 1..4).prop_map(Step::Blocks),
        6 => (0..4u8, command).prop_map(|(channel, command)| Step::Command(channel, command)),
        2 => (0..6usize).prop_map(Step::Install),
        1 => (0..6usize).prop_map(Step::Delete),
        1 => Just(Step::PowerCut),
        1 => (0..4usize).prop_map(Step::Willing),
    ]
}

fn check(terminal: &mut Terminal, command: &[u8]) {
    let (_, status) = send(terminal, command);
    assert!(matches!(status >> 12, 6 | 9) && status != 0x6F00, "{status:04X} for {}", hex::encode(command));
}

fn take(mut terminal: Terminal, step: Step) -> Terminal {
    match step {
        Step::Request(request) => {
            let blocks: Vec<_> = request.chunks(120).collect();
            for (number, block) in blocks.iter().enumerate() {
                let p1 = if number + 1 == blocks.len() { 0x91 } else { 0x11 };
                check(&mut terminal, &[&[0x81, 0xE2, p1, number as u8, block.len() as u8], *block].concat());
            }
        }
        Step::Blocks(blocks) => {
            for (p1, number, block) in blocks {
                let header = [0x81, 0xE2, p1, number];
                let length = (!block.is_empty()).then_some(block.len() as u8);
                check(&mut terminal, &[&header[..], length.as_slice(), &block].concat());
            }
        }
        Step::Command(channel, mut command) => {
            command[0] = command[0] & 0xFC | channel;
            check(&mut terminal, &command);
        }
        Step::Install(number) => {
            let new = if number == 5 {
                of_class(5, cardhost_wire::profiles::ProfileClass::Test)
            } else {
                notifying(number)
            };
            drop(install(&mut terminal, new));
        }
        Step::Delete(number) => {
            drop(terminal.command(Command::Profile(ProfileCommand::Delete(iccid(number)))));
        }
        Step::PowerCut => {
            terminal = terminal.restarted();
            open(&mut terminal);
        }
        Step::Willing(commits) => terminal.host().willing = commits,
    }
    terminal
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_sequence_is_answered_and_leaves_a_card_that_opens(steps in prop::collection::vec(step(), 1..60)) {
        let mut terminal = steps.into_iter().fold(card_with([notifying(0), notifying(1)]), take);
        let told = list(&mut terminal);
        let in_force = enabled(&mut terminal);
        let credentials: Vec<_> =
            told.iter().map(|profile| Credential::Profile(profile.metadata.iccid)).collect();
        prop_assert_eq!(&terminal.host().credentials, &credentials);
        let mut terminal = terminal.restarted();
        prop_assert_eq!(&terminal.started().credentials, &credentials);
        prop_assert_eq!(list(&mut terminal), told);
        prop_assert_eq!(enabled(&mut terminal), in_force);
    }
}
