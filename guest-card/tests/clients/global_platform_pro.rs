//! GlobalPlatformPro (`gp`): it asks the card what it is, and manages the secure element through SCP03.

use crate::{
    harness::{Terminal, hex, play},
    off_card::{OffCard, Set, put_key},
    secure::{self, ISSUER, initialize_update},
};

const DOMAIN: &str = "A00000000901";
/// INSTALL of a domain's one module; its AID, privileges and parameters follow.
const INSTALL: &str = "80E60C0007A000000151535008A000000151535041";
const LEVELS: [u8; 5] = [0x01, 0x03, 0x11, 0x13, 0x33];

fn connected() -> Terminal {
    let mut terminal = Terminal::new();
    play(
        &mut terminal,
        "> 00A4040000
         < 6F4E8408A000000151000000A542733C06072A864886FC6B01..9F6501FF9000
         > 00A4040008A00000015100000000
         < 6F4E8408A000000151000000A5..9000",
    );
    terminal
}

fn manager(terminal: &mut Terminal) -> OffCard {
    secure::open(terminal, &Set::well_known(), ISSUER, 0x01)
}

/// `--info`. At a protocol in `64` that it does not know it gives up.
#[test]
fn it_learns_what_the_card_is() {
    play(
        &mut connected(),
        "> 80CA9F7F00
         < 9F7F2A..9000
         > 80CA004200
         < 6A88
         > 00CA004200
         < 6A88
         > 80CA004500
         < 6A88
         > 00CA004500
         < 6A88
         > 80CA00CF00
         < CF0A020202020202020202029000
         > 80CA00C100
         < C1030000009000
         > 80CA006600
         < 663E733C..640B06092A864886FC6B040370640B06092A864886FC6B0411079000
         > 80CA006700
         < 6722A00B8001038103607071820107A006800111810107810380000082030000008801009000
         > 80CA00E000
         < E012C00401308810C00402308810C004033088109000",
    );
}

/// `--list`.
#[test]
fn it_lists_the_content_at_every_level() {
    let mut terminal = connected();
    for level in LEVELS {
        let mut off_card = secure::open(&mut terminal, &Set::well_known(), ISSUER, level);
        secure::play(
            &mut off_card,
            &mut terminal,
            &[
                ("80F280024F00", "E31C4F08A0000001510000009F700101C5039C5C00C407A00000015153509000"),
                (
                    "80F240024F00",
                    "E32A4F0BA0000003080000100001009F700107C503000000C408A000000308000010CC08A0000001510000009000",
                ),
                (
                    "80F220024F00",
                    "E3174F07A00000015153509F700101CC08A000000151000000E3184F08A0000003080000109F700101CC08A0000001510000009000",
                ),
                (
                    "80F210024F00",
                    "E3214F07A00000015153509F7001018408A000000151535041CC08A000000151000000E3234F08A0000003080000109F7001018409A00000030800001000CC08A0000001510000009000",
                ),
            ],
        );
    }
}

/// `--lock` and `--unlock`: the keys of the version that the card told are replaced.
#[test]
fn it_replaces_the_keys_and_puts_the_well_known_ones_back() {
    let mut terminal = connected();
    let own = Set::made_up(0x30, 16);
    for (now, next) in [(Set::well_known(), own.clone()), (own, Set::well_known())] {
        let mut off_card = secure::open(&mut terminal, &now, ISSUER, 0x01);
        let (data, answer) = put_key(&off_card, &next);
        assert_eq!(off_card.ok(&mut terminal, [0x80, 0xD8, now.kvn, 0x81], &data), answer);
        secure::open(&mut terminal, &next, ISSUER, 0x01);
    }
}

/// `--domain`, with the privileges and parameters of older and of newer versions; `--lock-applet`, `--delete`.
#[test]
fn it_makes_a_domain_locks_and_deletes_it() {
    for what in ["018002C90000", "018006C9048102037000", "0380000002C90000"] {
        let mut terminal = connected();
        let mut off_card = manager(&mut terminal);
        let install = format!("{INSTALL}06{DOMAIN}{what}");
        secure::play(
            &mut off_card,
            &mut terminal,
            &[
                (&install, "009000"),
                (&format!("80F04080{DOMAIN}"), "9000"),
                (&format!("80F04000{DOMAIN}"), "9000"),
                (&format!("80E400004F06{DOMAIN}"), "009000"),
                (&format!("80E400804F06{DOMAIN}"), "6A88"),
            ],
        );
    }
}

/// `--store-data`, whose P1 says that an answer may come.
#[test]
fn it_stores_data_in_blocks() {
    let mut terminal = connected();
    let mut off_card = manager(&mut terminal);
    secure::play(
        &mut off_card,
        &mut terminal,
        &[("80E201004203", "9000"), ("80E28101112233", "9000"), ("80CA0042", "42031122339000")],
    );
}

/// It takes `6700` for the demand of challenges of 16 bytes.
#[test]
fn it_comes_again_with_a_longer_challenge() {
    let mut terminal = connected();
    let install = format!("{INSTALL}06{DOMAIN}018006C9048102037100");
    secure::play(&mut manager(&mut terminal), &mut terminal, &[(&install, "009000")]);
    let select = format!("00A4040006{DOMAIN}00");
    terminal.transmit(&hex(&select));
    let long = Set { long: true, ..Set::made_up(1, 16) };
    let mut off_card = secure::open(&mut terminal, &Set::well_known(), DOMAIN, 0x01);
    let (data, answer) = put_key(&off_card, &long);
    assert_eq!(off_card.ok(&mut terminal, [0x80, 0xD8, 0, 0x81], &data), answer);
    terminal.transmit(&hex(&select));
    assert_eq!(initialize_update(&mut terminal, 0, &[1; 8]), hex("6700"));
    assert_eq!(initialize_update(&mut terminal, 0, &[1; 16]).len(), 48 + 2);
    secure::open(&mut terminal, &long, DOMAIN, 0x33);
}
