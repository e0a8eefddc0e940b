//! The audit log records every change, and shows when it was changed itself.

use cardhost::audit::{Link, verify};
use serde_json::Value;

use crate::support::{Client, Daemon, enrol, refusal};

async fn log(administrator: &Client) -> (Vec<Link>, Vec<u8>) {
    let page = administrator.get("/v1/audit").await.unwrap();
    let links = serde_json::from_value(page["entries"].clone()).unwrap();
    (links, hex::decode(page["public_key"].as_str().unwrap()).unwrap())
}

#[tokio::test]
async fn changes_of_users_terminals_and_devices_are_recorded() {
    let daemon = Daemon::start().await;
    let alice = daemon.terminal("till", "alice").await;
    let (id, _) = enrol(&alice, "till").await;
    alice.delete(&format!("/v1/terminals/till/devices/{id}")).await.unwrap();
    let administrator = daemon.administrator().await;
    administrator.delete("/v1/terminals/till").await.unwrap();
    administrator.delete("/v1/users/alice").await.unwrap();
    let (links, key) = log(&administrator).await;
    assert_eq!(verify(links.clone(), &key).unwrap(), 7);
    let entries = links.iter().map(|link| serde_json::from_str::<Value>(&link.entry).unwrap());
    let told: Vec<_> = entries.map(|entry| (text(&entry["action"]), text(&entry["user"]))).collect();
    let expected = [
        ("user-put", ""),
        ("user-put", "admin"),
        ("terminal-put", "admin"),
        ("device-enrolled", "alice"),
        ("device-deleted", "alice"),
        ("terminal-deleted", "admin"),
        ("user-deleted", "admin"),
    ];
    assert_eq!(told, expected.map(|(action, user)| (action.to_owned(), user.to_owned())));
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().into()
}

#[tokio::test]
async fn a_changed_log_does_not_verify() {
    let daemon = Daemon::start().await;
    daemon.user("alice").await;
    let (links, key) = log(&daemon.administrator().await).await;
    let mut changed = links.clone();
    changed[1].entry = changed[1].entry.replace("alice", "mallory");
    assert!(verify(changed, &key).is_err());
    assert!(verify(links[1..].to_vec(), &key).is_err());
    let other_key = ring::rand::generate::<[u8; 32]>(&ring::rand::SystemRandom::new()).unwrap().expose();
    assert!(verify(links, &other_key).is_err());
}

#[tokio::test]
async fn an_unknown_receipt_is_not_found() {
    let daemon = Daemon::start().await;
    let alice = daemon.user("alice").await;
    for id in ["nothing", "b5cd0ce2-9c5e-4f26-b8d6-0b54a5b8e3b0"] {
        assert_eq!(alice.get(&format!("/v1/receipts/{id}")).await, Err(refusal(404, "not-found")));
    }
}
