//! The authorised list.

use serde_json::json;

use crate::support::{Daemon, refusal};

#[tokio::test]
async fn users_are_made_listed_and_removed() {
    let daemon = Daemon::start().await;
    let administrator = daemon.administrator().await;
    daemon.user("alice").await;
    let users = administrator.get("/v1/users").await.unwrap();
    let expected = json!([{ "user": "admin", "role": "administrator" }, { "user": "alice", "role": "user" }]);
    assert_eq!(users["users"], expected);
    administrator.delete("/v1/users/alice").await.unwrap();
    assert_eq!(administrator.delete("/v1/users/alice").await, Err(refusal(404, "not-found")));
}

#[tokio::test]
async fn the_last_administrator_stays_one() {
    let daemon = Daemon::start().await;
    let administrator = daemon.administrator().await;
    let demotion = json!({ "password": "long enough", "role": "user" });
    assert_eq!(administrator.put("/v1/users/admin", demotion).await, Err(refusal(409, "conflict")));
    assert_eq!(administrator.delete("/v1/users/admin").await, Err(refusal(409, "conflict")));
}

#[tokio::test]
async fn a_user_with_terminals_stays() {
    let daemon = Daemon::start().await;
    daemon.terminal("till", "alice").await;
    let administrator = daemon.administrator().await;
    assert_eq!(administrator.delete("/v1/users/alice").await, Err(refusal(409, "conflict")));
    administrator.delete("/v1/terminals/till").await.unwrap();
    administrator.delete("/v1/users/alice").await.unwrap();
}

#[tokio::test]
async fn what_is_no_user_or_terminal_is_refused() {
    let daemon = Daemon::start().await;
    let administrator = daemon.administrator().await;
    let invalid = Err(refusal(422, "invalid-value"));
    for (path, body) in [
        ("/v1/users/alice", json!({ "password": "short", "role": "user" })),
        ("/v1/users/alice", json!({ "password": "x".repeat(1025), "role": "user" })),
        ("/v1/users/alice", json!({ "password": "long enough", "role": "king" })),
        ("/v1/users/alice", json!({ "password": "long enough", "role": "user", "more": 1 })),
        ("/v1/users/-alice", json!({ "password": "long enough", "role": "user" })),
        ("/v1/terminals/till", json!({ "owner": "nobody" })),
        ("/v1/terminals/till", json!({})),
        ("/v1/terminals/t%20ill", json!({ "owner": "admin" })),
    ] {
        assert_eq!(administrator.put(path, body.clone()).await, invalid, "{path} {body}");
    }
}
