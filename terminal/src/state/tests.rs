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
