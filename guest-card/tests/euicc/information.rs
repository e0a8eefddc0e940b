//! What the eUICC tells of itself, and what it refuses.

use cardhost_wire::tlv::{find, only};

use crate::{
    harness::hex,
    local_assistant::{card_with, es10, profile, result, send},
};

#[test]
fn the_ecasd_tells_the_same_eid_and_has_no_certificate() {
    let mut terminal = card_with([]);
    let eid = es10(&mut terminal, &hex("BF3E035C015A")).unwrap();
    assert_eq!(send(&mut terminal, &hex("01A4040C10A0000005591010FFFFFFFF8900000200")).1, 0x9000);
    let (from_ecasd, status) = send(&mut terminal, &hex("81CA005A00"));
    assert_eq!(status, 0x9000);
    assert_eq!(only(&eid, 0xBF3E), Ok(&from_ecasd[..]));
    for command in ["81CABF3000", "81CA7F2100"] {
        assert_eq!(send(&mut terminal, &hex(command)).1, 0x6A88, "{command}");
    }
    assert_eq!(send(&mut terminal, &hex("81E2910003BF2D00")).1, 0x6D00);
}

#[test]
fn the_card_says_how_many_more_profiles_it_takes_and_how_much_memory_is_free() {
    let described = |profiles: usize| {
        let mut terminal = card_with((0..profiles).map(profile));
        let info = es10(&mut terminal, &hex("BF2200")).unwrap();
        let info = only(&info, 0xBF22).unwrap().to_vec();
        let resources = find(&info, 0x84).unwrap().unwrap();
        let free = find(resources, 0x82).unwrap().unwrap().to_vec();
        (find(&info, 0x88).unwrap().unwrap().to_vec(), u32::from_be_bytes(free.try_into().unwrap()))
    };
    let (empty, room) = described(0);
    let (full, less_room) = described(8);
    assert_eq!((empty, full), (vec![4, 0x90], vec![4, 0x10]));
    assert!(less_room < room && room < 256 * 1024);
}

#[test]
fn the_default_address_is_set_taken_away_and_reset() {
    let mut terminal = card_with([]);
    let mut addresses = |request: &str| hex::encode_upper(es10(&mut terminal, &hex(request)).unwrap());
    assert_eq!(addresses("BF3F0A8008736D2E6C6F63616C"), "BF3F03800100");
    assert_eq!(addresses("BF3C00"), "BF3C0C8008736D2E6C6F63616C8100");
    assert_eq!(addresses("BF3F028000"), "BF3F03800100");
    assert_eq!(addresses("BF3C00"), "BF3C028100");
    assert_eq!(result(&mut terminal, &hex("BF3F0A8008736D2E6C6F63616C")), 0);
    assert_eq!(result(&mut terminal, &hex("BF340482020520")), 0);
    assert_eq!(es10(&mut terminal, &hex("BF3C00")).unwrap(), hex("BF3C028100"));
    assert_eq!(result(&mut terminal, &hex("BF340482020520")), 1);
}

/// Remote download needs keys and certificates that this card does not have.
#[test]
fn functions_that_are_not_there_are_refused() {
    let mut terminal = card_with([profile(0)]);
    for request in
        ["BF2E00", "BF3800", "BF2100", "BF3600", "BF3500", "BF4100", "BF2A00", "BF5500", "8000", "3000"]
    {
        assert_eq!(es10(&mut terminal, &hex(request)), Err(0x6A88), "{request}");
    }
}

#[test]
fn malformed_requests_are_refused_and_change_nothing() {
    let mut terminal = card_with([profile(0)]);
    let commits = terminal.host().commits;
    for request in [
        "BF",
        "BF2D",
        "BF2D01",
        "BF2D0000",
        "BF2D00BF2D00",
        "BF2001",
        "BF20020500",
        "BF3E00",
        "BF3E035C015B",
        "BF3E045C025A5A",
        "BF3100",
        // No REFRESH flag, one that is none, and something behind it.
        "BF310EA00C5A0A98102143658709214356",
        "BF3110A00C5A0A981021436587092143568100",
        "BF3113A00C5A0A981021436587092143568101FF0500",
        // An ICCID of nine bytes, an AID of four, neither.
        "BF330B5A09981021436587092143",
        "BF33064F04A0000005",
        "BF33029000",
        // A nickname that is no UTF-8, too long, not there, or for an AID.
        "BF290F5A0A981021436587092143569001FF",
        "BF290C5A0A98102143658709214356",
        "BF290A4F05A000000559900141",
        "BF3F00",
        "BF3F038001FF",
        "BF3400",
        "BF34028200",
        "BF340482020820",
        "BF30028000",
        "BF30088006010000000000",
        "BF2B028001",
        "BF2B02A000",
        "BF2B07A0058001004100",
        "BF280481020980",
    ] {
        assert_eq!(es10(&mut terminal, &hex(request)), Err(0x6A80), "{request}");
    }
    assert_eq!(terminal.host().commits, commits);
}

#[test]
fn blocks_out_of_order_or_of_another_form_are_refused() {
    let mut terminal = card_with([]);
    for (commands, status) in [
        (&["81E2910103BF2D00"][..], 0x6A80),
        (&["81E2110001BF", "81E29102022D00"], 0x6A80),
        (&["81E2110001BF", "81E29101022D00"], 0x9000),
        (&["81E2110001BF", "81E2910003BF2D00"], 0x9000),
        (&["81E2900003BF2D00"], 0x6A86),
        (&["81E2000003BF2D00"], 0x6A86),
        (&["01E2910003BF2D00"], 0x6D00),
        (&["81E29100"], 0x6A80),
    ] {
        let last = commands.iter().map(|command| send(&mut terminal, &hex(command)).1).last();
        assert_eq!(last, Some(status), "{commands:?}");
    }
}

#[test]
fn the_shared_root_is_the_same_isd_r() {
    let mut terminal = card_with([profile(0)]);
    let told = es10(&mut terminal, &hex("BF2D00")).unwrap();
    for name in ["A000000151000000", "A000000152000000"] {
        assert_eq!(send(&mut terminal, &hex(&format!("01A4040C08{name}"))).1, 0x9000);
        assert_eq!(es10(&mut terminal, &hex("BF2D00")).unwrap(), told);
    }
}
