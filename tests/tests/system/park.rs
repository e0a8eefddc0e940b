//! Parking and waking by an operator.

use cardhost_tests::{
    client::refusal,
    daemon::Daemon,
    needs_kvm, piv,
    process::ended,
    terminal::{PIN, Terminal},
};
use serde_json::{Value, json};

struct Scene {
    daemon: Daemon,
    terminal: Terminal,
    certificate: Value,
}

impl Scene {
    async fn set() -> Self {
        let daemon = Daemon::start().await;
        let terminal = daemon.terminal("till-1", "alice").await;
        let certificate = terminal.first("9A").await.unwrap();
        Self { daemon, terminal, certificate }
    }

    async fn post(&self, what: &str, body: Value) -> Result<Value, cardhost_tests::client::Refusal> {
        self.daemon.administrator().await.post(&format!("/v1/cards/till-1/{what}"), body).await
    }

    async fn audited(&self) -> Vec<String> {
        let log = self.daemon.administrator().await.get("/v1/audit").await.unwrap();
        let entries = log["entries"].as_array().unwrap().iter();
        let entries = entries.map(|link| serde_json::from_str(link["entry"].as_str().unwrap()).unwrap());
        let actions = entries.map(|entry: Value| entry["action"].as_str().unwrap().to_owned());
        actions.filter(|action| ["card-parked", "card-woken"].contains(&&**action)).collect()
    }
}

#[tokio::test]
async fn a_parked_card_has_no_process_and_the_next_use_wakes_it() {
    needs_kvm!();
    let scene = Scene::set().await;
    let before = scene.daemon.card_pid("till-1").await;
    let parked = scene.post("park", json!({})).await.unwrap();
    assert_eq!((&parked["state"], &parked["credentials"]), (&json!("parked"), &json!(1)));
    assert!(parked["pid"].is_null() && parked["memory_kib"].is_null());
    ended(before).await;
    assert_eq!(scene.post("park", json!({ "force": true })).await.unwrap()["state"], "parked");
    let answer = scene.terminal.authenticate(&scene.certificate, Some(PIN)).await.unwrap();
    assert_eq!(answer["result"], "success");
    assert_ne!(scene.daemon.card_pid("till-1").await, before);
    scene.post("park", json!({})).await.unwrap();
    assert_eq!(scene.post("wake", json!({})).await.unwrap()["state"], "live");
    assert_eq!(scene.post("wake", json!({})).await.unwrap()["state"], "live");
    assert_eq!(scene.audited().await, ["card-parked", "card-parked", "card-woken"]);
}

#[tokio::test]
async fn session_state_keeps_a_card_live_until_an_operator_insists() {
    needs_kvm!();
    let scene = Scene::set().await;
    let mut channel = scene.terminal.present().await;
    channel.expect(&piv::select(), 0x9000).await;
    channel.expect(&piv::verify(PIN), 0x9000).await;
    assert_eq!(scene.post("park", json!({})).await, Err(refusal(409, "card-busy")));
    channel.expect(&piv::verify(""), 0x9000).await;
    let parked = scene.post("park", json!({ "force": true })).await.unwrap();
    assert_eq!(parked["state"], "parked");
    channel.until("absent").await;
    channel.until("present").await;
    assert_eq!(scene.daemon.card("till-1").await["state"], "parked", "presence does not wake it");
    channel.expect(&piv::select(), 0x9000).await;
    channel.expect(&piv::verify(""), 0x63C3).await;
}

#[tokio::test]
async fn after_a_start_of_the_daemon_cards_are_parked_until_their_first_use() {
    needs_kvm!();
    let mut scene = Scene::set().await;
    scene.daemon.kill_and_restart().await;
    assert_eq!(scene.daemon.card("till-1").await["state"], "parked");
    let mut channel = scene.terminal.present().await;
    assert_eq!(scene.daemon.card("till-1").await["state"], "parked", "presence is known without it");
    channel.expect(&piv::select(), 0x9000).await;
    assert_eq!(scene.daemon.card("till-1").await["state"], "live");
}

#[tokio::test]
async fn what_is_not_there_is_neither_parked_nor_woken() {
    needs_kvm!();
    let daemon = Daemon::start().await;
    daemon.terminal("till-1", "alice").await;
    let administrator = daemon.administrator().await;
    for path in ["till-1/park", "till-1/wake", "till-2/park", "till-2/wake"] {
        let refused = administrator.post(&format!("/v1/cards/{path}"), json!({})).await;
        assert_eq!(refused, Err(refusal(404, "not-found")), "{path}");
    }
    let malformed = administrator.post("/v1/cards/till-1/park", json!({ "farce": true })).await;
    assert_eq!(malformed, Err(refusal(422, "invalid-value")));
}
