//! A creating request that is sent again is done once.

use serde_json::json;

use crate::support::{Daemon, device_request, refusal};

const PATH: &str = "/v1/terminals/till/devices";

#[tokio::test]
async fn the_same_key_and_body_give_the_same_answer_also_after_a_restart() {
    let daemon = Daemon::start().await;
    let alice = daemon.terminal("till", "alice").await;
    let body = json!({ "csr": device_request().1 });
    let first = alice.post_with_key(PATH, "k", body.clone()).await.unwrap();
    let daemon = daemon.restart().await;
    let alice = daemon.anonymous().with_token_of(&alice);
    assert_eq!(alice.post_with_key(PATH, "k", body.clone()).await.unwrap(), first);
    let devices = alice.get(PATH).await.unwrap();
    assert_eq!(devices["devices"].as_array().unwrap().len(), 1);
    assert_ne!(alice.post_with_key(PATH, "another", body).await.unwrap(), first);
}

#[tokio::test]
async fn another_body_under_the_same_key_is_refused() {
    let daemon = Daemon::start().await;
    let alice = daemon.terminal("till", "alice").await;
    alice.post_with_key(PATH, "k", json!({ "csr": device_request().1 })).await.unwrap();
    let other = alice.post_with_key(PATH, "k", json!({ "csr": device_request().1 })).await;
    assert_eq!(other, Err(refusal(422, "idempotency-key-reused")));
}

#[tokio::test]
async fn a_refused_request_leaves_its_key_free() {
    let daemon = Daemon::start().await;
    let alice = daemon.terminal("till", "alice").await;
    let refused = alice.post_with_key(PATH, "k", json!({ "csr": "nonsense" })).await;
    assert_eq!(refused, Err(refusal(422, "invalid-value")));
    alice.post_with_key(PATH, "k", json!({ "csr": device_request().1 })).await.unwrap();
}
