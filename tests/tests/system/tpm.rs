//! A host whose keys a TPM keeps, by the public surface, with a real TPM in software.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use cardhost_tests::{
    client::refusal,
    daemon::Daemon,
    needs_kvm,
    process::command,
    soon,
    swtpm::{Swtpm, can_run},
    terminal::{PIN, Terminal},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What is in a data directory and belongs to one moment.
const MOMENT: [&str; 5] = ["store.db", "store.db-wal", "store.db-shm", "anchor", "host.key"];

fn option(custody: &str, tpm: &Swtpm) -> Vec<OsString> {
    vec!["--host-key".into(), format!("{custody}:{}", tpm.tcti()).into()]
}

/// Copies these files, those that are missing as missing.
fn copy(files: &[&str], from: &Path, to: &Path) {
    for name in files {
        let _ = fs::remove_file(to.join(name));
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

/// A copy of these files of a data directory whose daemon does not run.
fn copied(files: &[&str], daemon: &Daemon) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(files, daemon.data(), folder.path());
    folder
}

fn host_key(daemon: &Daemon) -> PathBuf {
    daemon.data().join("host.key")
}

fn is_sealed(daemon: &Daemon) -> bool {
    fs::read(host_key(daemon)).unwrap().starts_with(b"cardhost hostkey\0\x03")
}

async fn terminate(daemon: &mut Daemon) {
    assert!(daemon.server.terminate().await, "the daemon ends in order");
}

async fn works(terminal: &Terminal, certificate: &Value) {
    assert_eq!(terminal.authenticate(certificate, Some(PIN)).await, Ok(json!({ "result": "success" })));
}

/// What a daemon says that does not start.
async fn does_not_start(daemon: &Daemon, options: &[OsString]) -> String {
    let mut serve = command("cardhost", ["serve", "--listen", "127.0.0.1:0", "--data"]);
    let output = soon("the daemon's end", serve.arg(daemon.data()).args(options).output()).await.unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn cards_live_on_a_tpm_and_a_destroyed_one_does_not_come_back() {
    needs_kvm!();
    if !can_run("cards with a TPM") {
        return;
    }
    let mut tpm = Swtpm::start();
    let mut daemon = Daemon::start_with(option("tpm", &tpm)).await;
    let terminal = daemon.terminal("till-1", "alice").await;
    let certificate = terminal.first("9A").await.unwrap();
    assert!(is_sealed(&daemon));
    daemon.kill_and_restart().await;
    works(&terminal, &certificate).await;
    terminate(&mut daemon).await;
    tpm = tpm.power_cycle();
    daemon.restart().await;
    works(&terminal, &certificate).await;
    terminate(&mut daemon).await;

    let (moment, other) = (copied(&MOMENT, &daemon), Swtpm::start());
    let said = does_not_start(&daemon, &option("tpm", &other)).await;
    assert!(said.contains("this TPM has no key for host key"), "{said}");
    daemon.restart().await;
    works(&terminal, &certificate).await;

    assert_eq!(terminal.delete(&certificate).await.unwrap()["card_destroyed"], true);
    terminate(&mut daemon).await;
    let present = copied(&MOMENT, &daemon);
    copy(&MOMENT, moment.path(), daemon.data());
    let said = does_not_start(&daemon, &option("tpm", &tpm)).await;
    assert!(said.contains("does not open host key") && said.contains("older copy"), "{said}");
    copy(&MOMENT, present.path(), daemon.data());
    daemon.restart().await;
    assert!(terminal.certificates().await.is_empty());
    terminal.first("9A").await.unwrap();
}

#[tokio::test]
async fn a_host_moves_into_a_tpm_and_out_of_it_with_its_cards() {
    needs_kvm!();
    if !can_run("a move into a TPM") {
        return;
    }
    let tpm = Swtpm::start_on_a_port();
    let mut daemon = Daemon::start().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    let certificate = terminal.first("9A").await.unwrap();
    terminate(&mut daemon).await;
    let said = does_not_start(&daemon, &option("tpm", &tpm)).await;
    assert!(said.contains("into-tpm:"), "{said}");
    for (custody, sealed) in [("into-tpm", true), ("tpm", true), ("out-of-tpm", false)] {
        daemon.restart_as(option(custody, &tpm)).await;
        works(&terminal, &certificate).await;
        assert_eq!(is_sealed(&daemon), sealed, "{custody}");
        terminate(&mut daemon).await;
    }
    daemon.restart_as(Vec::new()).await;
    works(&terminal, &certificate).await;
}

/// Old copies of everything that a disk holds are one history, valid in itself: only the TPM knows a later one.
#[tokio::test]
async fn an_old_copy_of_the_whole_data_directory_is_told() {
    needs_kvm!();
    if !can_run("an anchor in a TPM") {
        return;
    }
    let tpm = Swtpm::start();
    let mut daemon = Daemon::start_with(option("tpm", &tpm)).await;
    let terminal = daemon.terminal("till-1", "alice").await;
    let certificate = terminal.first("9A").await.unwrap();
    terminate(&mut daemon).await;
    let moment = copied(&MOMENT, &daemon);
    daemon.restart().await;
    let wrong = terminal.authenticate(&certificate, Some("999999")).await;
    assert_eq!(wrong, Err(refusal(403, "pin-wrong")));
    // Sudden ends leave the anchor ahead of the TPM, which is no alarm.
    for _ in 0..2 {
        daemon.kill_and_restart().await;
        works(&terminal, &certificate).await;
    }
    terminate(&mut daemon).await;
    let present = copied(&MOMENT, &daemon);
    copy(&MOMENT, moment.path(), daemon.data());
    let said = does_not_start(&daemon, &option("tpm", &tpm)).await;
    assert!(said.contains("an old copy of the data directory was put back"), "{said}");
    fs::remove_file(daemon.data().join("anchor")).unwrap();
    let said = does_not_start(&daemon, &option("tpm", &tpm)).await;
    assert!(said.contains("is missing: put it back"), "{said}");

    copy(&MOMENT, present.path(), daemon.data());
    daemon.restart().await;
    works(&terminal, &certificate).await;
    terminate(&mut daemon).await;
    // An operator may state that the old state is the right one; from then on it is.
    copy(&MOMENT, moment.path(), daemon.data());
    daemon.restart_with(&["--accept-new-anchor"]).await;
    let [replaced] = &*daemon.audited("anchor-replaced").await else { panic!("it is audited") };
    assert!(replaced["detail"]["reason"].as_str().unwrap().contains("the TPM knows batch"), "{replaced}");
    terminate(&mut daemon).await;
    daemon.restart().await;
    works(&terminal, &certificate).await;
    terminate(&mut daemon).await;
    copy(&MOMENT, present.path(), daemon.data());
    let said = does_not_start(&daemon, &option("tpm", &tpm)).await;
    assert!(said.contains("an old copy of the data directory was put back"), "{said}");
}
