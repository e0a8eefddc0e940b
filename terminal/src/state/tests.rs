use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// Frozen with the first release: every later version must open it.
const CONFIG_1: &str = include_str!("../../fixtures/state-1/config.json");

fn sample() -> Config {
    let pin = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let trust = Trust::CaSha256(pin.into());
    Config::new("https://cards.example:8443".into(), trust, "desk-7".into(), "alice".into())
}

#[test]
fn the_first_format_opens() {
    assert_eq!(parse_versioned::<Config>(Path::new("config.json"), CONFIG_1, VERSION).unwrap(), sample());
}

#[test]
fn a_later_format_is_named_and_damage_is_told() {
    let later = CONFIG_1.replace("\"version\": 1", "\"version\": 7");
    let path = Path::new("config.json");
    assert!(matches!(
        parse_versioned::<Config>(path, &later, VERSION),
        Err(StateError::Version { found: 7, .. })
    ));
    assert!(matches!(parse_versioned::<Config>(path, "{", VERSION), Err(StateError::Damaged(_))));
}

#[test]
fn only_the_user_can_read_what_is_kept() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("state");
    let state = State::open(Some(directory.clone())).unwrap();
    assert!(matches!(state.config(), Err(StateError::NotLoggedIn)));
    state.put_config(&sample()).unwrap();
    state.put_device_key("key").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("device.key")), 0o600);
    assert_eq!(state.config().unwrap(), sample());
}

#[test]
fn a_session_ends_once() {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(Some(directory.path().into())).unwrap();
    let session = Session { token: "t".into(), expires_at: "2030-01-01T00:00:00Z".into() };
    state.put_session(&session).unwrap();
    assert!(state.session().unwrap() == session);
    state.remove_session().unwrap();
    state.remove_session().unwrap();
    assert!(matches!(state.session(), Err(StateError::NotLoggedIn)));
}

/// Frozen with the first release that pairs.
const PAIRINGS_1: &str = include_str!("../../fixtures/state-1/pairings.json");

/// Frozen with the first release that knows of revoked cards.
const PAIRINGS_2: &str = include_str!("../../fixtures/state-2/pairings.json");
const CARD: [u8; 10] = [0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99];

/// A state directory whose file of pairings has this content.
fn with_pairings(content: &str) -> (tempfile::TempDir, State) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("pairings.json"), content).unwrap();
    let state = State::open(Some(directory.path().into())).unwrap();
    (directory, state)
}

#[test]
fn the_first_format_of_pairings_opens_without_certificates() {
    let (directory, state) = with_pairings(PAIRINGS_1);
    let mut pairings = state.pairings().unwrap();
    let known = pairings.find(&CARD).unwrap();
    assert_eq!((known.set.kvn, &known.serial), (0x60, &None));
    assert!(pairings.find(&[0; 10]).is_none() && !pairings.is_revoked(&CARD, None));
    // Another pairing with the same card takes its place, and the file is of the present format.
    let set = crate::pairing::scp03::KeySet { kvn: 0x61, ..known.set };
    pairings.keep(&CARD, &crate::pairing::flow::Known { set, serial: Some(vec![0x40, 1]) });
    state.put_pairings(&pairings).unwrap();
    let known = state.pairings().unwrap().find(&CARD).unwrap();
    assert_eq!((known.set.kvn, known.serial), (0x61, Some(vec![0x40, 1])));
    let path = directory.path().join("pairings.json");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(&path).unwrap().contains("\"version\": 2"));
}

#[test]
fn the_second_format_of_pairings_opens_and_is_still_written() {
    let (directory, state) = with_pairings(PAIRINGS_2);
    let pairings = state.pairings().unwrap();
    assert_eq!(pairings.find(&CARD).unwrap().serial, Some(vec![0x40, 0x0A, 0x0B]));
    let (card, serial) = ([0xFF; 10], [0x40, 0x0C, 0x0D]);
    assert!(pairings.is_revoked(&card, None) && pairings.is_revoked(&CARD, Some(&serial)));
    assert!(!pairings.is_revoked(&CARD, Some(&[0x40, 0x0A, 0x0B])));
    state.put_pairings(&pairings).unwrap();
    assert_eq!(fs::read_to_string(directory.path().join("pairings.json")).unwrap(), PAIRINGS_2);
    let (_directory, state) = with_pairings(&PAIRINGS_2.replace("\"version\": 2", "\"version\": 3"));
    assert!(matches!(state.pairings(), Err(StateError::Version { found: 3, known: 2, .. })));
}

#[test]
fn a_revoked_card_loses_its_pairing_and_stays_refused() {
    let (_directory, state) = with_pairings(PAIRINGS_1);
    let mut pairings = state.pairings().unwrap();
    pairings.revoke(&CARD, &[7]);
    state.put_pairings(&pairings).unwrap();
    let pairings = state.pairings().unwrap();
    assert!(pairings.find(&CARD).is_none() && pairings.is_revoked(&CARD, None));
    assert!(pairings.is_revoked(&[0; 10], Some(&[7])) && !pairings.is_revoked(&[0; 10], Some(&[8])));
}
