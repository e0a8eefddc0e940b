//! Structure-aware random commands: whatever comes, the card answers a status word, and stays whole.

use cardhost_wire::tlv::object;
use proptest::prelude::*;

use crate::harness::{PIN, Terminal};

const INSTRUCTIONS: [u8; 18] = [
    0x20, 0x24, 0x2C, 0x47, 0x87, 0xCB, 0xDB, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA, 0xFB, 0xFD, 0xFE, 0xFF, 0xA4,
    0xC0,
];
const REFERENCES: [u8; 10] = [0x80, 0x81, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x82, 0xF9, 0xFF];
const TAGS: [u32; 14] =
    [0x5C, 0x53, 0x7C, 0x80, 0x81, 0x82, 0x85, 0xAC, 0xAA, 0xAB, 0x9B, 0x7E, 0x5FC105, 0x7F49];

/// Nested data objects with tags that the card knows, or plain bytes.
fn data() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        Just(vec![0x5F, 0xC1, 0x05]),
        Just(vec![0x11]),
        Just(vec![7; 32]),
        Just(PIN.to_vec()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let one = (prop::sample::select(&TAGS[..]), inner).prop_map(|(tag, value)| object(tag, &value));
        prop::collection::vec(one, 1..3).prop_map(|objects| objects.concat())
    })
}

fn parameter() -> impl Strategy<Value = u8> {
    prop_oneof![
        Just(0),
        Just(0x3F),
        Just(0x11),
        Just(0x03),
        Just(0x14),
        prop::sample::select(&REFERENCES[..]),
        any::<u8>()
    ]
}

fn command() -> impl Strategy<Value = (u8, u8, u8, Vec<u8>)> {
    let ins = prop_oneof![9 => prop::sample::select(&INSTRUCTIONS[..]), 1 => any::<u8>()];
    (ins, parameter(), parameter(), data())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_sequence_is_answered_and_leaves_a_card_that_opens(
        commands in prop::collection::vec(command(), 1..32),
        verified in any::<bool>(),
        managed in any::<bool>(),
    ) {
        let mut terminal = Terminal::new();
        if managed {
            terminal.authenticate();
            terminal.generate(0x9A, 0x11);
        }
        if verified {
            terminal.verify(PIN);
        }
        for (ins, p1, p2, data) in commands {
            let status = terminal.status(ins, p1, p2, &data);
            prop_assert!(matches!(status >> 12, 6 | 9), "{status:04X}");
            prop_assert_ne!(status, 0x6F00);
        }
        terminal.restarted();
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        prop_assert!(Terminal::new().transmit(&bytes).len() >= 2);
    }
}
