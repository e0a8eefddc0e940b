//! The keys that wrap cards' keys, by the public surface.

use std::path::Path;

use cardhost_tests::{
    daemon::Daemon,
    needs_kvm, piv,
    process::command,
    terminal::{PIN, id},
};
use serde_json::Value;
use tokio::process::Command;

/// A command of the operator against this daemon.
fn operator(daemon: &Daemon, arguments: &[&str]) -> Command {
    let mut command = command("cardhost", arguments);
    command.env("CARDHOST_DATA", daemon.data());
    command
}

/// Copies every file of the store, whose daemon has ended.
fn copy_store(from: &Path, to: &Path) {
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        let _ = std::fs::remove_file(to.join(name));
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

#[tokio::test]
async fn a_rotation_touches_no_card_and_leaves_no_key_of_before() {
    needs_kvm!();
    let mut daemon = Daemon::start().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    let certificate = terminal.first("9A").await.unwrap();
    let mut channel = terminal.present().await;
    channel.expect(&piv::select(), 0x9000).await;
    channel.expect(&piv::verify(PIN), 0x9000).await;
    let (pid, before) = (daemon.card_pid("till-1").await, host_keys(&daemon));

    let rotated = operator(&daemon, &["key", "rotate"]).output().await.unwrap();
    assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
    let after = host_keys(&daemon);
    assert!(before.len() == 256 && before.iter().all(|key| !after.contains(key)));
    // The session in the card goes on, and the card starts again from what is stored.
    assert_eq!(daemon.card_pid("till-1").await, pid);
    channel.expect(&piv::verify(""), 0x9000).await;
    daemon.kill_and_restart().await;
    let answer = terminal.authenticate(&certificate, Some(PIN)).await.unwrap();
    assert_eq!(answer["result"], "success");

    let log = daemon.administrator().await.get("/v1/audit?limit=100").await.unwrap();
    let entries: Vec<_> =
        log["entries"].as_array().unwrap().iter().map(|link| link["entry"].to_string()).collect();
    for action in ["host-key-rotation-begun", "host-key-rotated"] {
        assert!(entries.iter().any(|entry| entry.contains(action)), "{entries:?}");
    }
}

/// The present keys of the buckets, by the file's format.
fn host_keys(daemon: &Daemon) -> Vec<Vec<u8>> {
    let file = std::fs::read(daemon.data().join("host.key")).unwrap();
    file[96..].chunks_exact(72).map(|bucket| bucket[8..40].to_vec()).collect()
}

#[tokio::test]
async fn an_older_copy_of_the_store_does_not_bring_a_destroyed_card_back() {
    needs_kvm!();
    let mut daemon = Daemon::start().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    let certificate = terminal.first("9A").await.unwrap();
    let copy = tempfile::tempdir().unwrap();
    assert!(daemon.server.terminate().await);
    copy_store(daemon.data(), copy.path());
    daemon.restart().await;
    let deleted = terminal.delete(&certificate).await.unwrap();
    let receipt =
        terminal.client.get(&format!("/v1/receipts/{}", deleted["receipt"].as_str().unwrap())).await;
    assert!(daemon.server.terminate().await);
    copy_store(copy.path(), daemon.data());
    daemon.restart().await;
    assert_eq!(id(&terminal.certificates().await[0]), id(&certificate), "the copy is in place");
    assert!(terminal.authenticate(&certificate, Some(PIN)).await.is_err());

    let statement: Value = serde_json::from_str(receipt.unwrap()["statement"].as_str().unwrap()).unwrap();
    let lists = ["destroyed", "cannot_know"].map(|list| statement[list].as_array().unwrap().len());
    assert!(lists[0] >= 5 && lists[1] >= 4, "{statement}");
    assert!(statement["wrapping_keys"]["up_to_generation"].as_u64().unwrap() >= 1, "{statement}");
    assert!(statement["meaning"].as_str().unwrap().contains("not proof of physical erasure"), "{statement}");
}
