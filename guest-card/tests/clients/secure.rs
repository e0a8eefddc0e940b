//! How these clients open a secure channel: with short lengths, any key set, and a look at the card's challenge.

use crate::{
    harness::{Terminal, hex},
    off_card::{Empty, Initiated, OffCard, Set, card_challenge},
};

/// The issuer's security domain.
pub const ISSUER: &str = "A000000151000000";
/// Its older name.
pub const OLDER: &str = "A000000003000000";

/// INITIALIZE UPDATE with this challenge and key version.
pub fn initialize_update(terminal: &mut Terminal, kvn: u8, challenge: &[u8]) -> Vec<u8> {
    let header = [0x80, 0x50, kvn, 0x00, challenge.len() as u8];
    terminal.transmit(&[&header, challenge, &[0]].concat())
}

/// A channel to what is selected, which the terminal knows by this AID.
pub fn open(terminal: &mut Terminal, set: &Set, aid: &str, level: u8) -> OffCard {
    let challenge = [0xC5; 16];
    let challenge = &challenge[..if set.long { 16 } else { 8 }];
    let mut answer = initialize_update(terminal, 0, challenge);
    assert_eq!(answer.split_off(answer.len() - 2), hex("9000"));
    assert_eq!(answer[10], set.kvn);
    assert_eq!(answer[13..13 + challenge.len()], card_challenge(set, &hex(aid), &answer));
    let mut initiated = Initiated::new(set, challenge, answer, 0);
    (initiated.off_card.extended, initiated.off_card.empty) = (false, Empty::Plain);
    initiated.authenticate(terminal, level).unwrap()
}

/// Plays a script through a channel: header and data, without length, and the response.
pub fn play(off_card: &mut OffCard, terminal: &mut Terminal, script: &[(&str, &str)]) {
    for (command, expected) in script {
        let command = hex(command);
        let (header, data) = command.split_first_chunk().unwrap();
        let (data, status) = off_card.send(terminal, *header, data);
        assert_eq!(format!("{}{status:04X}", hex::encode_upper(data)), *expected, "{command:02X?}");
    }
}
