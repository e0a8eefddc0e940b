//! Cards that are revoked: no terminal speaks to them, in a set-up or with a pairing that there is.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Stdio};

use cardhost_terminal::pairing::flow::PairingError;
use cardhost_tests::{
    authority::Authority,
    client::refusal,
    daemon::{Daemon, PASSWORD},
    front::Front,
    pairing::{PairingDevice, card_certificate},
    piv,
    process::command,
    soon,
    terminal::{PIN, Terminal},
    until,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

const CERTIFICATION: &str = "/v1/cards/till-1/certification";

/// A daemon, and a terminal with a card.
async fn scene() -> (Daemon, Terminal) {
    let daemon = Daemon::start().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    terminal.first("9A").await.unwrap();
    (daemon, terminal)
}

/// The operator revokes the card; waits until the authority has.
async fn revoke(daemon: &Daemon) {
    let administrator = daemon.administrator().await;
    administrator.delete(CERTIFICATION).await.unwrap();
    let revoked = async || !daemon.audited("certificate-revoked").await.is_empty();
    until("the certificate is revoked", revoked).await;
}

#[track_caller]
fn assert_revoked<T>(outcome: Result<T, PairingError>) {
    let refused = outcome.err();
    assert!(matches!(refused, Some(PairingError::Revoked)), "{refused:?}");
}

/// By whoever operates the authority, who knows nothing of hosts.
#[tokio::test]
async fn a_card_that_the_authority_revoked_is_refused_with_and_without_a_pairing() {
    let mut authority = Authority::start().await;
    let front = Front::start(&authority).await;
    let mut daemon = Daemon::start_with(authority.options(&front)).await;
    let terminal = daemon.terminal("till-1", "alice").await;
    terminal.first("9A").await.unwrap();
    let mut paired = PairingDevice::enrol(&terminal, PIN).await;
    let mut unaware = PairingDevice::enrol(&terminal, PIN).await;
    let mut new = PairingDevice::enrol(&terminal, PIN).await;
    let mut channel = terminal.present().await;
    paired.insert(&mut channel).await.unwrap();
    unaware.insert(&mut channel).await.unwrap();
    let certificate = card_certificate(&mut channel).await;
    authority.revoke(&certificate).await;

    // What the host was told before it keeps for an hour, but not over its end.
    daemon.kill_and_restart().await;
    let mut channel = terminal.present().await;
    assert_revoked(paired.insert(&mut channel).await);
    assert_revoked(new.insert(&mut channel).await);
    assert_eq!((paired.asked, new.asked), (1, 0), "the PIN is not told to a revoked card");

    // Nobody says so any more: who has seen it remembers, and who has not goes on.
    authority.server.kill().await;
    daemon.kill_and_restart().await;
    let mut channel = terminal.present().await;
    assert_revoked(paired.insert(&mut channel).await);
    assert_revoked(new.insert(&mut channel).await);
    unaware.insert(&mut channel).await.unwrap();
    authority.restart().await;
    assert_revoked(unaware.insert(&mut channel).await);
}

#[tokio::test]
async fn an_operator_revokes_a_card_and_everything_else_goes_on() {
    let (daemon, terminal) = scene().await;
    let mut device = PairingDevice::enrol(&terminal, PIN).await;
    let mut channel = terminal.present().await;
    device.insert(&mut channel).await.unwrap();
    let refused = terminal.client.delete(CERTIFICATION).await;
    assert_eq!(refused, Err(refusal(403, "administrator-only")));
    revoke(&daemon).await;
    assert_eq!(daemon.audited("card-revoked").await.len(), 1);
    // Although the host was told otherwise a moment ago.
    assert_revoked(device.insert(&mut channel).await);
    channel.expect(&piv::select(), 0x9000).await;
    terminal.create("9C").await.unwrap();
    // Once more changes nothing, and another card is none.
    let mut again = command("cardhost", ["card", "revoke", "till-1", "--data"]);
    let output = again.arg(daemon.data()).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let other = daemon.terminal("till-2", "bob").await;
    let administrator = daemon.administrator().await;
    let absent = administrator.delete("/v1/cards/till-2/certification").await;
    assert_eq!(absent, Err(refusal(404, "not-found")));
    other.first("9A").await.unwrap();
    let mut channel = other.present().await;
    PairingDevice::enrol(&other, PIN).await.insert(&mut channel).await.unwrap();
}

#[tokio::test]
async fn a_status_is_asked_by_serial_number() {
    let (_daemon, terminal) = scene().await;
    for malformed in ["xx", "4", &"40".repeat(21)] {
        let refused = terminal.client.get(&format!("{CERTIFICATION}/{malformed}")).await;
        assert_eq!(refused, Err(refusal(422, "invalid-value")), "{malformed}");
    }
    let unknown = terminal.client.get(&format!("{CERTIFICATION}/4000")).await.unwrap();
    assert!(unknown["ocsp_response"].is_string(), "the authority says that it does not know it");
}

/// `cardhost-terminal` with its state in this directory.
fn terminal_command(state: &Path, words: &[&str]) -> tokio::process::Command {
    let mut program = command("cardhost-terminal", ["--json", "--state"]);
    program.arg(state).args(words).stdin(Stdio::null()).kill_on_drop(true);
    program
}

/// Runs a secure bridge, without a vpcd, until its reader tells this condition; what it tells of it.
async fn bridge(state: &Path, askpass: &Path, condition: &str) -> String {
    let words = ["bridge", "--secure", "--protocol", "apdu-gate", "--vpcd", "127.0.0.1:9", "--askpass"];
    let mut bridge = terminal_command(state, &words);
    let mut child = bridge.arg(askpass).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let told = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("another line");
            let told: Value = serde_json::from_str(&line).unwrap();
            if told["condition"] == condition {
                return told["detail"].as_str().unwrap_or_default().to_owned();
            }
        }
    };
    let told = soon("the reader's condition", told).await;
    soon("the bridge's end", child.kill()).await.unwrap();
    told
}

#[tokio::test]
async fn the_bridge_does_not_show_a_revoked_card() {
    let (daemon, terminal) = scene().await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str, mode: u32| {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let askpass = file("askpass", &format!("#!/bin/sh\necho {PIN}\n"), 0o700);
    let (ca, password) = (file("ca.pem", daemon.ca_pem(), 0o600), file("password", PASSWORD, 0o600));
    let state = directory.path().join("state");
    let words =
        ["login", "--url", &daemon.server.url, "--ca", &ca, "--terminal", "till-1", "--user", "alice"];
    let login = terminal_command(&state, &words).args(["--password-file", &password]).output().await.unwrap();
    assert!(login.status.success(), "{}", String::from_utf8_lossy(&login.stderr));
    drop(terminal);

    let pairings =
        || -> Value { serde_json::from_slice(&fs::read(state.join("pairings.json")).unwrap()).unwrap() };
    bridge(&state, Path::new(&askpass), "waiting").await;
    let serial = pairings()["pairings"][0]["certificate"].clone();
    assert!(serial.is_string(), "the card's certificate is kept");
    bridge(&state, Path::new("/nobody/is/asked"), "waiting").await;
    revoke(&daemon).await;
    let told = bridge(&state, Path::new(&askpass), "unpaired").await;
    assert!(told.contains("revoked"), "{told}");
    assert_eq!(pairings()["pairings"], json!([]));
    assert_eq!(pairings()["revoked"][0]["certificate"], serial);
}
