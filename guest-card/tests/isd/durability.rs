//! What happens when the host does not store a change: nothing has changed, for anybody.

use crate::{
    harness::{Terminal, hex},
    off_card::{ISSUER, OffCard, Set, initialize_update, put_key, select, send},
};

#[test]
fn without_a_durable_counter_there_is_no_challenge() {
    let mut terminal = Terminal::new();
    select(&mut terminal, &ISSUER);
    terminal.host().willing = 0;
    assert_eq!(initialize_update(&mut terminal, &Set::well_known(), 0).err(), Some(0x6581));
    terminal.host().willing = 1;
    let initiated = initialize_update(&mut terminal, &Set::well_known(), 0).unwrap();
    assert_eq!(initiated.answer[29..], [0, 0, 1]);
}

#[test]
fn a_change_that_is_not_durable_is_not_made() {
    let mut terminal = Terminal::new();
    let mut issuer = OffCard::issuer(&mut terminal);
    assert_eq!(issuer.status(&mut terminal, [0x80, 0xF1, 0, 0x13], &hex("01F00100")), 0x9000);
    let before = terminal.host().records();
    terminal.host().willing = 0;
    let put = put_key(&issuer, &Set::made_up(1, 16)).0;
    for (header, data) in [
        ([0x80, 0xD8, 0x00, 0x81], put.clone()),
        ([0x80, 0xD8, 0x30, 0x81], put),
        ([0x80, 0xF1, 0x00, 0x11], hex("02F00100")),
        ([0x80, 0xF1, 0x01, 0x13], hex("01F00100")),
        ([0x80, 0xE4, 0x00, 0x01], hex("D20130")),
        ([0x80, 0xE2, 0x90, 0x00], hex("420101")),
        ([0x80, 0xE2, 0x90, 0x00], hex("A60483021301BF21023000")),
        ([0x80, 0xF0, 0x80, 0x07], vec![]),
        ([0x80, 0xF0, 0x40, 0x80], hex("A000000308000010000100")),
        ([0x80, 0xE6, 0x0C, 0x00], hex("07A000000151535008A00000015153504105A00000090101800000")),
    ] {
        assert_eq!(issuer.status(&mut terminal, header, &data), 0x6581, "{header:02X?}");
    }
    assert!(terminal.host().records() == before);
    let mut terminal = terminal.restarted();
    select(&mut terminal, &ISSUER);
    let information = send(&mut terminal, [0, 0xCA, 0, 0xE0], &[]).0;
    assert_eq!(information, hex("C00401308810C00402308810C00403308810C0061301B120F001"));
    assert_eq!(send(&mut terminal, [0, 0xCA, 0, 0x42], &[]).1, 0x6A88);
    OffCard::issuer(&mut terminal);
}
