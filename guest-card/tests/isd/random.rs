//! Structure-aware random commands through an open channel: whatever comes, the card answers a status word, stays
//! whole, and opens again.

use cardhost_wire::tlv::object;
use proptest::prelude::*;

use crate::{
    harness::{Terminal, hex},
    off_card::{OffCard, Set, put_key},
};

const INSTRUCTIONS: [u8; 9] = [0xCA, 0xD8, 0xE2, 0xE4, 0xE6, 0xF0, 0xF1, 0xF2, 0xA4];
const PARAMETERS: [u8; 18] = [
    0x00, 0x01, 0x02, 0x04, 0x08, 0x0C, 0x10, 0x11, 0x13, 0x20, 0x30, 0x40, 0x66, 0x80, 0x81, 0x90, 0xE0,
    0xBF,
];
const TAGS: [u32; 14] =
    [0x4F, 0xA6, 0x83, 0x80, 0x42, 0x45, 0x70, 0x93, 0xD0, 0xD2, 0xBF21, 0xF0, 0xB0, 0xC9];

fn leaf() -> impl Strategy<Value = Vec<u8>> {
    let known = ["", "01", "13", "30", "1301", "1004", "A0000009", "A000000901", "0180", "3000", "810203"];
    let known: Vec<Vec<u8>> = known.into_iter().map(hex).collect();
    prop_oneof![4 => prop::sample::select(known), 1 => prop::collection::vec(any::<u8>(), 0..40)]
}

/// Data objects, values after their lengths, and whole commands' data fields that are right.
fn data() -> impl Strategy<Value = Vec<u8>> {
    let nested = leaf().prop_recursive(3, 12, 3, |inner| {
        let one = (prop::sample::select(&TAGS[..]), inner).prop_map(|(tag, value)| object(tag, &value));
        prop::collection::vec(one, 1..3).prop_map(|objects| objects.concat())
    });
    let prefixed = prop::collection::vec(leaf(), 1..7).prop_map(|fields| {
        fields.iter().flat_map(|field| [vec![field.len() as u8], field.clone()].concat()).collect()
    });
    let right = [
        "01F00100",
        "02F00100",
        "4F00",
        "D20101",
        "D01301",
        "4F05A000000901",
        "07A000000151535008A00000015153504105A00000090101800000",
        "000005A00000090101800000",
        "000005A000000901000000",
        "A60483021301BF21023000",
        "A6048302100470039301017000",
    ];
    let right: Vec<Vec<u8>> = right.into_iter().map(hex).collect();
    prop_oneof![1 => leaf(), 3 => nested, 2 => prefixed, 3 => prop::sample::select(right)]
}

type Step = ([u8; 4], Vec<u8>);

fn step() -> impl Strategy<Value = Step> {
    let ins = prop_oneof![12 => prop::sample::select(&INSTRUCTIONS[..]), 1 => any::<u8>()];
    let parameter = || prop_oneof![8 => prop::sample::select(&PARAMETERS[..]), 1 => any::<u8>()];
    let cla = prop_oneof![3 => Just(0x80), 1 => Just(0x00)];
    (cla, ins, parameter(), parameter(), data())
        .prop_map(|(cla, ins, p1, p2, data)| ([cla, ins, p1, p2], data))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_sequence_is_answered_and_leaves_a_card_that_opens(
        steps in prop::collection::vec(step(), 1..40),
        set in 0x4Fu8..0x62,
        willing in prop::option::of(0usize..20),
    ) {
        let mut terminal = Terminal::new();
        let mut off_card = OffCard::issuer(&mut terminal);
        let put = put_key(&off_card, &Set::made_up(set, 16)).0;
        prop_assert_eq!(off_card.status(&mut terminal, [0x80, 0xD8, 0, 0x81], &put), 0x9000);
        terminal.host().willing = willing.unwrap_or(usize::MAX);
        for (header, data) in steps {
            let (_, status) = off_card.send(&mut terminal, header, &data);
            prop_assert!(matches!(status >> 12, 6 | 9) && status != 0x6F00, "{status:04X}");
        }
        terminal.restarted_at_root();
    }

    /// The card never takes a message that its off-card entity did not send, and never stops answering.
    #[test]
    fn any_bytes_in_a_channel_are_refused(
        level in prop::sample::select(&[0x01, 0x03, 0x11, 0x13, 0x33][..]),
        header in any::<[u8; 3]>(),
        data in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut terminal = Terminal::new();
        let mut off_card = OffCard::open(&mut terminal, &Set::well_known(), level).unwrap();
        let [ins, p1, p2] = header;
        prop_assume!(ins != 0xC0);
        let (_, status) = crate::off_card::send(&mut terminal, [0x84, ins, p1, p2], &data);
        prop_assert_eq!(status, 0x6988);
        prop_assert_eq!(off_card.status(&mut terminal, [0x80, 0xCA, 0, 0x66], &[]), 0x6982);
    }
}
