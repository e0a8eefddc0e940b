//! GPShell, with the library GlobalPlatform: it selects the issuer's domain by whichever name the script has, and opens
//! no channel to a card whose challenge is not derived from that name.

use crate::{
    harness::{Terminal, hex, play},
    off_card::{Set, card_challenge, put_key},
    secure::{self, ISSUER, OLDER},
};

fn selected(aid: &str) -> Terminal {
    let mut terminal = Terminal::new();
    let script = format!("> 00A4040008{aid}00\n< 6F4E8408A000000151000000A542733C..9F6501FF9000");
    play(&mut terminal, &script);
    terminal
}

#[test]
fn it_opens_a_channel_whichever_name_it_selects_by() {
    for aid in [ISSUER, OLDER] {
        let mut terminal = selected(aid);
        play(&mut terminal, "> 80CA006600\n< 663E733C..9000");
        for level in [0x01, 0x03, 0x33] {
            let mut off_card = secure::open(&mut terminal, &Set::well_known(), aid, level);
            secure::play(
                &mut off_card,
                &mut terminal,
                &[("80F280004F00", "08A000000151000000019C9000"), ("80F2E0004F00", "6A86")],
            );
        }
    }
}

/// A logical channel that is opened from one on which the domain has the older name begins with the same name.
#[test]
fn the_older_name_goes_with_the_channel() {
    let mut terminal = selected(OLDER);
    assert_eq!(terminal.transmit(&hex("0070000001")), hex("019000"));
    terminal.transmit(&hex(&format!("01A4040008{OLDER}00")));
    assert_eq!(terminal.transmit(&hex("0170000001")), hex("029000"));
    let answer = terminal.transmit(&hex("8250000008010203040506070800"));
    let (answer, status) = answer.split_at(answer.len() - 2);
    let expected = card_challenge(&Set::well_known(), &hex(OLDER), answer);
    assert_eq!((&answer[13..21], status), (&expected[..], &hex("9000")[..]));
}

/// `get_data`, with and without the tag around the value, for whatever a script names.
#[test]
fn what_the_card_does_not_have_is_not_found() {
    let mut terminal = selected(ISSUER);
    for tag in ["00D3", "FF21", "00C2", "00D5", "5F50", "0045", "0042"] {
        play(&mut terminal, &format!("> 80CA{tag}00\n< 6A88"));
    }
    play(&mut terminal, "> 80CA00E000\n< E012C00401308810C00402308810C004033088109000");
}

/// `put_sc_key`, `store_data` and `delete_key`.
#[test]
fn it_adds_and_deletes_a_key_set() {
    let mut terminal = selected(ISSUER);
    let mut off_card = secure::open(&mut terminal, &Set::well_known(), ISSUER, 0x03);
    let (data, answer) = put_key(&off_card, &Set::made_up(1, 16));
    assert_eq!(off_card.ok(&mut terminal, [0x80, 0xD8, 0, 0x81], &data), answer);
    secure::play(
        &mut off_card,
        &mut terminal,
        &[("80E280004201AA", "9000"), ("80E40000D20101", "9000"), ("80E40000D20101", "6A88")],
    );
}
