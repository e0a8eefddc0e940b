//! ES10c: every result of every function that manages profiles.

use cardhost_wire::{
    profiles::{MAX_NICKNAME, ProfileClass, isd_p},
    tlv::{find, object, only},
};

use crate::{
    harness::hex,
    local_assistant::{
        card_with, delete, disable, enable, enable_isd_p, enabled, es10, iccid, list, notifying, of_class,
        profile, reset, set_nickname,
    },
};

const OK: u8 = 0;
const NOT_FOUND: u8 = 1;
const NOTHING_TO_DELETE: u8 = 1;
const WRONG_STATE: u8 = 2;
const WRONG_PROFILE_REENABLING: u8 = 4;

#[test]
fn one_profile_is_enabled_at_a_time() {
    let mut terminal = card_with([profile(0), profile(1)]);
    assert_eq!(enabled(&mut terminal), None);
    assert_eq!(enable(&mut terminal, 0), OK);
    assert_eq!(enable(&mut terminal, 0), WRONG_STATE);
    assert_eq!(enable(&mut terminal, 1), OK);
    assert_eq!(enabled(&mut terminal), Some(iccid(1)));
    assert_eq!(disable(&mut terminal, 0), WRONG_STATE);
    assert_eq!(disable(&mut terminal, 1), OK);
    assert_eq!(enabled(&mut terminal), None);
    assert_eq!(disable(&mut terminal, 1), WRONG_STATE);
}

#[test]
fn what_is_not_there_is_not_found() {
    let mut terminal = card_with([profile(0)]);
    for result in [enable(&mut terminal, 1), disable(&mut terminal, 1), delete(&mut terminal, 1)] {
        assert_eq!(result, NOT_FOUND);
    }
    assert_eq!(set_nickname(&mut terminal, 1, b"mine"), Ok(hex("BF2903800101")));
    assert_eq!(enable_isd_p(&mut terminal, &isd_p(1)), NOT_FOUND);
    assert_eq!(enable_isd_p(&mut terminal, &isd_p(0)), OK);
    assert_eq!(enabled(&mut terminal), Some(iccid(0)));
}

#[test]
fn only_a_disabled_profile_is_deleted_and_its_place_is_free_again() {
    let mut terminal = card_with([profile(0), profile(1)]);
    assert_eq!(enable(&mut terminal, 0), OK);
    assert_eq!(delete(&mut terminal, 0), WRONG_STATE);
    assert_eq!(disable(&mut terminal, 0), OK);
    assert_eq!(delete(&mut terminal, 0), OK);
    assert_eq!(delete(&mut terminal, 0), NOT_FOUND);
    let left: Vec<_> = list(&mut terminal).iter().map(|profile| profile.metadata.iccid).collect();
    assert_eq!(left, [iccid(1)]);
    let installed = crate::local_assistant::install(&mut terminal, profile(2)).unwrap();
    assert_eq!(installed.isdp_aid, isd_p(0));
}

#[test]
fn a_test_profile_gives_way_only_to_what_it_displaced() {
    let test = |number| of_class(number, ProfileClass::Test);
    let mut terminal = card_with([profile(0), profile(1), test(2), test(3)]);
    assert_eq!(enable(&mut terminal, 0), OK);
    assert_eq!(enable(&mut terminal, 2), OK);
    assert_eq!(enable(&mut terminal, 1), WRONG_PROFILE_REENABLING);
    assert_eq!(enable(&mut terminal, 3), OK);
    assert_eq!(disable(&mut terminal, 3), OK);
    assert_eq!(enabled(&mut terminal), Some(iccid(0)), "it is enabled again");
    assert_eq!(enable(&mut terminal, 2), OK);
    assert_eq!(enable(&mut terminal, 0), OK);
    assert_eq!(disable(&mut terminal, 0), OK);
    assert_eq!(enabled(&mut terminal), None);
    // It displaces nothing, so nothing but its disabling makes room.
    assert_eq!(enable(&mut terminal, 2), OK);
    assert_eq!(enable(&mut terminal, 0), WRONG_PROFILE_REENABLING);
    assert_eq!(disable(&mut terminal, 2), OK);
    assert_eq!(enabled(&mut terminal), None);
}

#[test]
fn a_displaced_profile_that_was_deleted_does_not_come_back() {
    let mut terminal = card_with([profile(0), of_class(1, ProfileClass::Test)]);
    assert_eq!((enable(&mut terminal, 0), enable(&mut terminal, 1)), (OK, OK));
    assert_eq!(delete(&mut terminal, 0), OK);
    assert_eq!(disable(&mut terminal, 1), OK);
    assert_eq!(enabled(&mut terminal), None);
}

#[test]
fn a_nickname_is_set_and_taken_away() {
    let mut terminal = card_with([profile(0)]);
    let longest = "ü".repeat(MAX_NICKNAME / 2);
    for (nickname, expected) in
        [(&b"mine"[..], Some("mine")), (longest.as_bytes(), Some(&*longest)), (b"", None)]
    {
        assert_eq!(set_nickname(&mut terminal, 0, nickname), Ok(hex("BF2903800100")));
        assert_eq!(list(&mut terminal)[0].metadata.nickname.as_deref(), expected);
    }
    assert_eq!(set_nickname(&mut terminal, 0, &[b'x'; MAX_NICKNAME + 1]), Err(0x6A80));
}

#[test]
fn a_reset_deletes_what_its_options_say_enabled_or_not() {
    let every =
        || [profile(0), of_class(1, ProfileClass::Test), of_class(2, ProfileClass::Provisioning), profile(3)];
    for (options, left) in [(0x80, &[1, 2][..]), (0x40, &[0, 2, 3]), (0xC0, &[2]), (0xE0, &[2])] {
        let mut terminal = card_with(every());
        assert_eq!((enable(&mut terminal, 3), enable(&mut terminal, 1)), (OK, OK));
        assert_eq!(reset(&mut terminal, options), OK);
        let told: Vec<_> = list(&mut terminal).iter().map(|profile| profile.metadata.iccid).collect();
        assert_eq!(told, left.iter().map(|number| iccid(*number)).collect::<Vec<_>>());
        // Without the test profile, what it displaced is in force again.
        let in_force = match options {
            0x80 => Some(iccid(1)),
            0x40 => Some(iccid(3)),
            _ => None,
        };
        assert_eq!(enabled(&mut terminal), in_force, "{options:02X}");
        assert_eq!(reset(&mut terminal, options), NOTHING_TO_DELETE);
    }
    assert_eq!(reset(&mut card_with(every()), 0x00), NOTHING_TO_DELETE);
}

#[test]
fn the_listing_tells_what_is_asked_for() {
    let mut terminal = card_with([profile(0), of_class(1, ProfileClass::Test), notifying(2)]);
    let mut listed = |members: &[u8]| {
        let response = es10(&mut terminal, &object(0xBF2D, members)).unwrap();
        only(&response, 0xBF2D).unwrap().to_vec()
    };
    let mut count = |criterion: &[u8]| {
        let list = listed(&[object(0xA0, criterion), hex("5C015A")].concat());
        find(&list, 0xA0).unwrap().map(|list| list.len() / 14)
    };
    assert_eq!(count(&hex("950100")), Some(1));
    assert_eq!(count(&hex("950101")), Some(0));
    assert_eq!(count(&hex("950102")), Some(2));
    assert_eq!(count(&object(0x5A, &iccid(1).coded())), Some(1));
    assert_eq!(count(&object(0x5A, &iccid(9).coded())), Some(0));
    assert_eq!(count(&object(0x4F, &isd_p(2))), Some(1));
    for wrong in ["", "950103", "9500", "5A0100", "4F0100", "910100", "950100950100", "95"] {
        assert_eq!(count(&hex(wrong)), None, "incorrect input values: {wrong}");
    }
    assert_eq!(listed(&hex("5C0195")), hex("A00FE303950102E303950100E303950102"));
    assert_eq!(listed(&hex("5C029F70")), hex("A012E3049F700100E3049F700100E3049F700100"));
    assert_eq!(listed(&hex("5C00")), hex("A006E300E300E300"));
    assert_eq!(listed(&hex("5C0193")), hex("A006E300E300E300"));
    assert_eq!(listed(&hex("5C019F")), hex("810101"));
    let configuration = "3011800204F0810B616C6C2E6578616D706C653017800204108111".to_owned();
    let configuration = [hex(&configuration), b"deletions.example".to_vec()].concat();
    let expected = object(0xE3, &object(0xB6, &configuration));
    assert_eq!(listed(&hex("5C01B6")), object(0xA0, &[hex("E300E300"), expected].concat()));
}
