//! Log in, log out, and what a token is bound to.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Daemon, PASSWORD, enrol, refusal};

#[tokio::test]
async fn only_the_right_password_logs_in() {
    let daemon = Daemon::start().await;
    daemon.user("alice").await;
    for (user, password) in [("alice", "wrong password"), ("nobody", PASSWORD), ("../x", PASSWORD), ("", "")]
    {
        let refused = daemon.anonymous().log_in(user, password).await.err();
        assert_eq!(refused, Some(refusal(401, "login-refused")), "{user}");
    }
}

#[tokio::test]
async fn a_token_ends_with_its_session_and_survives_a_restart() {
    let daemon = Daemon::start().await;
    let alice = daemon.user("alice").await;
    let daemon = daemon.restart().await;
    let alice = daemon.anonymous().with_token_of(&alice);
    alice.get("/v1/terminals").await.unwrap();
    alice.delete("/v1/sessions/current").await.unwrap();
    assert_eq!(alice.get("/v1/terminals").await, Err(refusal(401, "unauthenticated")));
}

#[tokio::test]
async fn a_new_password_ends_the_users_sessions() {
    let daemon = Daemon::start().await;
    let alice = daemon.user("alice").await;
    let setting = json!({ "password": "another password", "role": "user" });
    daemon.administrator().await.put("/v1/users/alice", setting).await.unwrap();
    assert_eq!(alice.get("/v1/terminals").await, Err(refusal(401, "unauthenticated")));
}

#[tokio::test]
async fn a_token_used_with_a_device_is_bound_to_its_certificate() {
    let daemon = Daemon::start().await;
    let alice = daemon.terminal("till", "alice").await;
    let (_, device) = enrol(&alice, "till").await;
    let (_, other) = enrol(&alice, "till").await;
    let on_device = daemon.client(Some(device)).with_token_of(&alice);
    on_device.get("/v1/terminals/till").await.unwrap();
    let elsewhere = [alice.clone(), daemon.client(Some(other)).with_token_of(&alice)];
    for client in elsewhere {
        assert_eq!(client.get("/v1/terminals/till").await, Err(refusal(401, "unauthenticated")));
    }
    on_device.get("/v1/terminals/till").await.unwrap();
}

#[tokio::test]
async fn a_device_reaches_its_own_terminal_only() {
    let daemon = Daemon::start().await;
    let alice = daemon.terminal("till-a", "alice").await;
    let setting = json!({ "owner": "alice" });
    daemon.administrator().await.put("/v1/terminals/till-b", setting).await.unwrap();
    let (_, device) = enrol(&alice, "till-a").await;
    let on_device = daemon.client(Some(device)).log_in("alice", PASSWORD).await.unwrap();
    on_device.get("/v1/terminals/till-a").await.unwrap();
    let refused = on_device.get("/v1/terminals/till-b").await;
    assert_eq!(refused, Err(refusal(403, "device-certificate-required")));
}

#[tokio::test]
async fn a_removed_device_is_refused_at_once() {
    let daemon = Daemon::start().await;
    let alice = daemon.terminal("till", "alice").await;
    let (id, device) = enrol(&alice, "till").await;
    let client = daemon.client(Some(device));
    let on_device = client.clone().log_in("alice", PASSWORD).await.unwrap();
    alice.delete(&format!("/v1/terminals/till/devices/{id}")).await.unwrap();
    assert_eq!(on_device.get("/v1/terminals").await, Err(refusal(401, "unauthenticated")));
    let again = client.log_in("alice", PASSWORD).await.err();
    assert_eq!(again, Some(refusal(403, "device-certificate-required")));
}

#[tokio::test]
async fn a_login_flood_is_turned_away_while_others_are_served() {
    let daemon = Daemon::start().await;
    let alice = daemon.user("alice").await;
    daemon.user("bob").await;
    let flood = join_all((0..200).map(|_| daemon.anonymous().log_in("alice", "a wrong guess")));
    let bob = daemon.anonymous().log_in("bob", PASSWORD);
    let (flood, served, bob) = tokio::join!(flood, alice.get("/v1/terminals"), bob);
    served.unwrap();
    bob.unwrap();
    let refused: Vec<_> = flood.into_iter().map(|login| login.err().unwrap()).collect();
    assert!(refused.contains(&refusal(429, "too-many-requests")));
    assert!(refused.iter().all(|refused| refused.title != "internal-error"));
    daemon.anonymous().log_in("alice", PASSWORD).await.unwrap();
}
