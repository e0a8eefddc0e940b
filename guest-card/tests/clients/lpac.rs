//! lpac: a logical channel to the ISD-R, whatever it wants in one function each, and its numbers without the zero that
//! tells them from negative ones.

use cardhost_wire::port::{Port, Protocol};

use crate::{
    harness::{Terminal, hex, play_on},
    local_assistant::{card_with, disable, enable, es10, notifying, open, profile, result},
};

fn play(terminal: &mut Terminal, script: &str) {
    play_on(terminal, Protocol::Iso7816T1, script);
}

/// `chip info`. Over T=0 no command has an Le.
#[test]
fn it_shows_the_chip() {
    let mut terminal = card_with([profile(0)]);
    terminal.card().reset(Port::Apdu(Protocol::Iso7816T1));
    play(
        &mut terminal,
        "> 80AA00000AA9088100820101830107
         < 9000
         > 0070000001
         < 019000
         > 01A4040010A0000005591010FFFFFFFF8900000100
         < 6F198410A0000005591010FFFFFFFF8900000100E00582030202029000
         > 81E2910006BF3E035C015A
         < BF3E125A10899990..9000
         > 81E2910003BF3C00
         < BF3C0281009000
         > 81E2910003BF2200
         < BF223F8103..9000
         > 81E2910003BF4300
         < BF4302A0009000
         > 0070800100
         < 9000
         > 0070000001
         < 019000",
    );
}

/// `profile list`, `enable`, `nickname`, `disable`, `delete`.
#[test]
fn it_manages_profiles() {
    let mut terminal = card_with([profile(4)]);
    play(
        &mut terminal,
        "> 81E2910010BF2D0D5C0B5A4F9F70909192939495B7
         < BF2D3EA03CE33A5A0A988812010000500112F74F10A0000005591010FFFFFFFF89000010009F700100910850726F7669646572920950726F66696C6520349501029000
         > 81E2910014BF3111A00C5A0A988812010000500112F78101FF
         < BF31038001009000
         > 81E2910012BF290F5A0A988812010000500112F7900168
         < BF29038001009000
         > 81E2910014BF3211A00C5A0A988812010000500112F7810100
         < BF32038001009000
         > 81E291000FBF330C5A0A988812010000500112F7
         < BF33038001009000
         > 81E2910003BF2D00
         < BF2D02A0009000",
    );
}

/// `notification list` and `remove`. None has the number 0, for which it sends no digit.
#[test]
fn it_removes_each_notification_that_it_lists() {
    let mut terminal = card_with([notifying(0)]);
    for _ in 0..65 {
        assert_eq!((enable(&mut terminal, 0), disable(&mut terminal, 0)), (0, 0));
    }
    let listed = es10(&mut terminal, &hex("BF2800")).unwrap();
    let listed = hex::encode_upper(listed);
    for number in 128..=131_u8 {
        assert!(listed.contains(&format!("BF2F218002{number:04X}")), "{number}");
        assert_eq!(result(&mut terminal, &[0xBF, 0x30, 3, 0x80, 1, number]), 0, "{number}");
        assert_eq!(result(&mut terminal, &[0xBF, 0x30, 4, 0x80, 2, 0, number]), 1, "{number}");
    }
}

/// `notification process`: nothing signs notifications here, so that it ends with an error.
#[test]
fn it_retrieves_no_notification() {
    let mut terminal = card_with([notifying(0)]);
    assert_eq!(es10(&mut terminal, &hex("BF2B05A003800101")).unwrap(), hex("BF2B0381017F"));
}

/// `chip purge`, `chip defaultsmdp`.
#[test]
fn it_resets_the_memory() {
    let mut terminal = card_with([profile(0)]);
    assert_eq!(result(&mut terminal, &hex("BF3F0A8008736D2E6C6F63616C")), 0);
    assert_eq!(es10(&mut terminal, &hex("BF3C00")).unwrap(), hex("BF3C0C8008736D2E6C6F63616C8100"));
    assert_eq!(enable(&mut terminal, 0), 0);
    assert_eq!(result(&mut terminal, &hex("BF3404820200E0")), 0);
    assert_eq!(es10(&mut terminal, &hex("BF3C00")).unwrap(), hex("BF3C028100"));
    let mut terminal = terminal.restarted();
    open(&mut terminal);
    assert_eq!(es10(&mut terminal, &hex("BF2D00")).unwrap(), hex("BF2D02A000"));
}
