//! The life of certificates and of the card that they make.

use std::path::Path;

use cardhost_tests::{
    client::refusal,
    daemon::{Daemon, PASSWORD},
    process::{children, command, ended},
    terminal::{PIN, id, wish},
};
use serde_json::json;

#[tokio::test]
async fn only_authorised_users_log_in_and_reach_only_their_terminals() {
    let daemon = Daemon::start().await;
    let stranger = daemon.anonymous(None).log_in("mallory", PASSWORD).await;
    assert_eq!(stranger.err(), Some(refusal(401, "login-refused")));
    let alice = daemon.terminal("till-1", "alice").await;
    let bob = daemon.terminal("till-2", "bob").await;
    let plain = daemon.anonymous(None).log_in("bob", PASSWORD).await.unwrap();
    for client in [&bob.client, &plain] {
        let foreign = client.get(&alice.path("certificates")).await;
        assert_eq!(foreign, Err(refusal(403, "terminal-not-assigned")));
        let foreign = client.post(&alice.path("certificates"), wish("9A")).await;
        assert_eq!(foreign, Err(refusal(403, "terminal-not-assigned")));
    }
}

#[tokio::test]
async fn the_first_certificate_makes_the_card_and_the_last_deletion_destroys_it() {
    let daemon = Daemon::start().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    assert_eq!(daemon.card("till-1").await["state"], "absent");
    let first = terminal.first("9A").await.unwrap();
    assert_eq!(first["card_created"], true);
    let pid = daemon.card_pid("till-1").await;
    let second = terminal.create("9C").await.unwrap();
    assert_eq!(second["card_created"], false);
    assert_eq!(daemon.card_pid("till-1").await, pid);
    let occupied = terminal.create("9A").await;
    assert_eq!(occupied, Err(refusal(409, "key-reference-occupied")));
    let listed: Vec<_> = terminal.certificates().await.iter().map(|entry| entry["id"].clone()).collect();
    assert_eq!(listed, [first["id"].clone(), second["id"].clone()]);

    let deleted = terminal.delete(&first).await.unwrap();
    assert_eq!(deleted, json!({ "revoked": true, "card_destroyed": false }));
    assert_eq!(daemon.card_pid("till-1").await, pid);
    let deleted = terminal.delete(&second).await.unwrap();
    assert_eq!((&deleted["revoked"], &deleted["card_destroyed"]), (&json!(true), &json!(true)));
    ended(pid).await;
    assert_eq!(daemon.card("till-1").await["state"], "absent");
    assert!(terminal.certificates().await.is_empty());
    let again = terminal.create("9A").await.unwrap();
    assert_eq!(again["card_created"], true);
}

#[tokio::test]
async fn a_card_authenticates_with_the_pin_where_its_key_needs_it() {
    let daemon = Daemon::start().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    let (with_pin, without) = (terminal.first("9A").await.unwrap(), terminal.create("9E").await.unwrap());
    let success = json!({ "result": "success" });
    assert_eq!(terminal.authenticate(&with_pin, Some(PIN)).await.unwrap(), success);
    assert_eq!(terminal.authenticate(&without, None).await.unwrap(), success);
    assert_eq!(terminal.authenticate(&with_pin, None).await, Err(refusal(403, "pin-required")));
    for _ in 0..3 {
        assert_eq!(terminal.authenticate(&with_pin, Some("999999")).await, Err(refusal(403, "pin-wrong")));
    }
    // Counted: the tries are used up, also for the right PIN.
    assert_eq!(terminal.authenticate(&with_pin, Some(PIN)).await, Err(refusal(403, "pin-blocked")));
    assert_eq!(terminal.authenticate(&without, None).await.unwrap(), success);
}

#[tokio::test]
async fn a_renewed_certificate_keeps_its_id_and_key() {
    let daemon = Daemon::start().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    let first = terminal.first("9A").await.unwrap();
    let before = terminal.certificates().await.remove(0);
    let path = terminal.path(&format!("certificates/{}/renewal", id(&first)));
    let renewed = terminal.client.post(&path, json!({})).await.unwrap();
    assert_eq!(renewed["id"], first["id"]);
    assert_ne!(renewed["serial"], before["serial"]);
    assert_eq!(public_key(&renewed), public_key(&before));
    assert_eq!(terminal.certificates().await, std::slice::from_ref(&renewed));
    assert_eq!(terminal.authenticate(&renewed, Some(PIN)).await.unwrap()["result"], "success");
}

#[tokio::test]
async fn concurrent_first_requests_make_one_card() {
    let daemon = Daemon::start_with(vec!["--warm-pool".into(), "0".into()]).await;
    let terminal = daemon.terminal("till-1", "alice").await;
    let (one, other) = tokio::join!(terminal.create("9A"), terminal.create("9E"));
    let (one, other) = (one.unwrap(), other.unwrap());
    let created = [&one, &other].map(|certificate| certificate["card_created"].as_bool().unwrap());
    assert_eq!(created.iter().filter(|created| **created).count(), 1);
    assert_eq!(daemon.card("till-1").await["credentials"], 2);
    let machines: Vec<u32> = children(daemon.server.pid()).into_iter().flat_map(children).collect();
    assert_eq!(machines, [daemon.card_pid("till-1").await]);
    let secrets = terminal.client.get(&terminal.path("secrets")).await.unwrap();
    for certificate in [&one, &other] {
        let answer = terminal.authenticate(certificate, secrets["pin"].as_str()).await.unwrap();
        assert_eq!(answer["result"], "success");
    }
}

#[tokio::test]
async fn an_idempotency_key_replays_the_answer() {
    let daemon = Daemon::start().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    let path = terminal.path("certificates");
    let first = terminal.client.post_once(&path, "k1", wish("9A")).await.unwrap();
    let again = terminal.client.post_once(&path, "k1", wish("9A")).await.unwrap();
    assert_eq!(again, first);
    assert_eq!(terminal.certificates().await.len(), 1);
    let other = terminal.client.post_once(&path, "k1", wish("9C")).await;
    assert_eq!(other, Err(refusal(422, "idempotency-key-reused")));
}

#[tokio::test]
async fn secrets_that_nobody_chose_are_told_until_acknowledged() {
    let daemon = Daemon::start().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    let request = json!({ "key_reference": "9A", "algorithm": "P-256" });
    let created = terminal.client.post(&terminal.path("certificates"), request).await.unwrap();
    let secrets = terminal.client.get(&terminal.path("secrets")).await.unwrap();
    assert_eq!(secrets, created["secrets"]);
    assert_eq!(secrets["security_domain_keys"].as_str().map(str::len), Some(96));
    let pin = secrets["pin"].as_str().unwrap();
    assert_eq!(terminal.authenticate(&created, Some(pin)).await.unwrap()["result"], "success");
    terminal.client.delete(&terminal.path("secrets")).await.unwrap();
    let gone = terminal.client.get(&terminal.path("secrets")).await;
    assert_eq!(gone, Err(refusal(404, "not-found")));
}

#[tokio::test]
async fn the_receipt_and_the_audit_log_verify_offline_and_not_after_tampering() {
    let mut daemon = Daemon::start().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    let certificate = terminal.first("9A").await.unwrap();
    let deleted = terminal.delete(&certificate).await.unwrap();
    let path = format!("/v1/receipts/{}", deleted["receipt"].as_str().unwrap());
    let receipt = terminal.client.get(&path).await.unwrap();
    assert_eq!(receipt["terminal"], "till-1");
    assert!(daemon.server.terminate().await, "the daemon ends in order");

    let file = daemon.data().join("receipt.json");
    std::fs::write(&file, receipt.to_string()).unwrap();
    assert!(verifies(daemon.data(), Some(&file)).await);
    std::fs::write(&file, receipt.to_string().replace("till-1", "till-2")).unwrap();
    assert!(!verifies(daemon.data(), Some(&file)).await);

    assert!(verifies(daemon.data(), None).await);
    let database = rusqlite::Connection::open(daemon.data().join("store.db")).unwrap();
    let changed = "UPDATE audit SET entry = replace(entry, 'till-1', 'till-2') WHERE entry LIKE '%till-1%'";
    assert!(database.execute(changed, []).unwrap() > 0);
    drop(database);
    assert!(!verifies(daemon.data(), None).await);
}

async fn verifies(data: &Path, receipt: Option<&Path>) -> bool {
    let mut verify = command("cardhost", ["audit", "verify", "--data"]);
    verify.arg(data);
    if let Some(receipt) = receipt {
        verify.arg("--receipt").arg(receipt);
    }
    verify.output().await.unwrap().status.success()
}

fn public_key(certificate: &serde_json::Value) -> Vec<u8> {
    let pem = certificate["pem"].as_str().unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    pem.parse_x509().unwrap().public_key().raw.to_vec()
}
