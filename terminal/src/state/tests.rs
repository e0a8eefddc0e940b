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

#[test]
fn the_first_format_of_pairings_opens_and_is_still_written() {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(Some(directory.path().into())).unwrap();
    assert!(state.pairings().unwrap().find(&[0; 10]).is_none());
    let path = directory.path().join("pairings.json");
    fs::write(&path, PAIRINGS_1).unwrap();
    let mut pairings = state.pairings().unwrap();
    let card = [0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99];
    let set = pairings.find(&card).unwrap().clone();
    assert_eq!(set.kvn, 0x60);
    state.put_pairings(&pairings).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), PAIRINGS_1);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // Another pairing with the same card takes its place.
    pairings.keep(&card, crate::pairing::scp03::KeySet { kvn: 0x61, ..set });
    state.put_pairings(&pairings).unwrap();
    assert_eq!(state.pairings().unwrap().find(&card).unwrap().kvn, 0x61);
    fs::write(&path, PAIRINGS_1.replace("\"version\": 1", "\"version\": 2")).unwrap();
    assert!(matches!(state.pairings(), Err(StateError::Version { found: 2, known: 1, .. })));
}
