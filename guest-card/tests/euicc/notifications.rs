//! Notifications: who is told of what, how many wait, and that no number comes twice.

use cardhost_wire::tlv::{TlvReader, find, only};

use crate::{
    harness::{Terminal, hex},
    local_assistant::{
        card_with, delete, disable, enable, es10, install, notifying, of_class, open, profile, reset, result,
    },
};

/// Number, event and address of each.
fn waiting(terminal: &mut Terminal, filter: &str) -> Vec<(u32, u8, String)> {
    let response = es10(terminal, &hex(&format!("BF28{:02X}{filter}", filter.len() / 2))).unwrap();
    let mut list = TlvReader::new(only(only(&response, 0xBF28).unwrap(), 0xA0).unwrap());
    let mut told = vec![];
    while let Some((0xBF2F, notification)) = list.next_object().unwrap() {
        let member = |tag| find(notification, tag).unwrap().unwrap();
        let number = member(0x80).iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
        told.push((number, member(0x81)[1], String::from_utf8(member(0x0C).to_vec()).unwrap()));
    }
    told
}

#[test]
fn servers_are_told_of_the_events_that_they_want() {
    let mut terminal = card_with([notifying(0), profile(1), notifying(2)]);
    enable(&mut terminal, 1);
    enable(&mut terminal, 0);
    enable(&mut terminal, 2);
    disable(&mut terminal, 2);
    delete(&mut terminal, 2);
    let all = "all.example".to_owned();
    let expected = [
        (1, 0x80, all.clone()),
        (2, 0x80, all.clone()),
        (3, 0x40, all.clone()),
        (4, 0x20, all.clone()),
        (5, 0x40, all.clone()),
        (6, 0x20, all.clone()),
        (7, 0x10, all),
        (8, 0x10, "deletions.example".to_owned()),
    ];
    assert_eq!(waiting(&mut terminal, ""), expected);
    assert_eq!(waiting(&mut terminal, "81020780"), expected[..2]);
    assert_eq!(waiting(&mut terminal, "81020410"), expected[6..]);
    assert_eq!(waiting(&mut terminal, "81020460").len(), 4);
    assert_eq!(waiting(&mut terminal, "810100"), []);
}

#[test]
fn numbers_go_on_over_removals_and_power_cuts() {
    let mut terminal = card_with([notifying(0)]);
    assert_eq!(result(&mut terminal, &hex("BF3003800101")), 0);
    let mut terminal = terminal.restarted();
    open(&mut terminal);
    assert_eq!(waiting(&mut terminal, ""), []);
    enable(&mut terminal, 0);
    assert_eq!(waiting(&mut terminal, "")[0].0, 2);
}

#[test]
fn the_oldest_make_room() {
    let mut terminal = card_with([notifying(0)]);
    for _ in 0..20 {
        enable(&mut terminal, 0);
        disable(&mut terminal, 0);
    }
    let waiting = waiting(&mut terminal, "");
    let numbers: Vec<_> = waiting.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, (10..42).collect::<Vec<_>>());
    assert!(terminal.host().records().iter().all(|record| record.sealed.len() < 8 * 1024));
}

#[test]
fn numbers_of_more_than_a_byte_are_found_again() {
    let mut terminal = card_with([notifying(0)]);
    for _ in 0..70 {
        enable(&mut terminal, 0);
        disable(&mut terminal, 0);
    }
    let last = waiting(&mut terminal, "").pop().unwrap().0;
    assert_eq!(last, 141);
    assert_eq!(es10(&mut terminal, &hex("BF2B06A0048002008D")).unwrap(), hex("BF2B0381017F"));
    assert_eq!(result(&mut terminal, &hex("BF30048002008D")), 0);
    assert_eq!(es10(&mut terminal, &hex("BF2B06A0048002008D")).unwrap(), hex("BF2B03810101"));
    assert_eq!(es10(&mut terminal, &hex("BF2B06A00481020420")).unwrap(), hex("BF2B0381017F"));
    assert_eq!(es10(&mut terminal, &hex("BF2B06A00481020410")).unwrap(), hex("BF2B03810101"));
}

#[test]
fn a_reset_tells_of_each_deletion() {
    let mut test = of_class(1, cardhost_wire::profiles::ProfileClass::Test);
    test.metadata.notifications = notifying(1).metadata.notifications;
    let mut terminal = card_with([notifying(0), test]);
    enable(&mut terminal, 0);
    assert_eq!(reset(&mut terminal, 0xC0), 0);
    let events: Vec<_> = waiting(&mut terminal, "").iter().map(|(_, event, _)| *event).collect();
    assert_eq!(events, [0x80, 0x80, 0x40, 0x20, 0x10, 0x10, 0x10, 0x10]);
    // They wait on, and the card takes the profile anew.
    install(&mut terminal, notifying(0)).unwrap();
    assert_eq!(waiting(&mut terminal, "").len(), 9);
}
