//! What a security domain tells everybody, byte for byte.

use crate::{
    harness::{Terminal, hex, play},
    off_card::{ISSUER, OffCard, select, send},
};

#[test]
fn management_clients_look_around() {
    play(
        &mut Terminal::new(),
        "> 00A4040000
         < 6F4E8408A000000151000000A542733C..9F6501FF9000
         > 00A4040008A00000000300000000
         < 6F..9000
         > 80CA006600
         < 663E733C06072A864886FC6B01600C060A2A864886FC6B02020301630906072A864886FC6B03640B06092A864886FC6B040370640B06092A864886FC6B0411079000
         > 80CA00E000
         < E012C00401308810C00402308810C004033088109000
         > 00CA00E000
         < C00401308810C00402308810C004033088109000
         > 80CA00C100
         < C1030000009000
         > 80CA00CF00
         < CF0A020202020202020202029000
         > 80CA2F0000
         < 2F001B610A4F08A000000151000000610D4F0BA0000003080000100001009000
         > 80CA9F7F00
         < 9F7F2A..9000
         > 80CA004200
         < 6A88
         > 80CAFF3300
         < 6A88
         > 80CABF2106A60483021301
         < 6A88
         > 80CABF2100
         < 6A80
         > 8050000008010203040506070800
         < 02020202020202020202300370..0000019000",
    );
}

#[test]
fn stored_objects_are_told_and_others_refused() {
    let mut terminal = Terminal::new();
    let mut issuer = OffCard::issuer(&mut terminal);
    let store = |last: u8, number: u8| [0x80, 0xE2, 0x10 | last, number];
    assert_eq!(issuer.status(&mut terminal, store(0, 0), &hex("42031122")), 0x9000);
    assert_eq!(issuer.status(&mut terminal, store(0x80, 1), &hex("33450144")), 0x9000);
    assert_eq!(issuer.status(&mut terminal, store(0, 0), &hex("4203")), 0x9000);
    assert_eq!(issuer.status(&mut terminal, store(0x80, 2), &hex("445566")), 0x6A80, "a block is missing");
    assert_eq!(issuer.status(&mut terminal, store(0x80, 0), &[&hex("4221")[..], &[1; 33]].concat()), 0x6A80);
    let mut terminal = terminal.restarted();
    select(&mut terminal, &ISSUER);
    assert_eq!(send(&mut terminal, [0x80, 0xCA, 0, 0x42], &[]).0, hex("4203112233"));
    assert_eq!(send(&mut terminal, [0, 0xCA, 0, 0x45], &[]).0, hex("44"));
}
