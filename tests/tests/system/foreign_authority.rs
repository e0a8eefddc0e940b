//! A CA that only issues, by EST: the daemon verifies for itself, and an operator revokes.

use std::time::Duration;

use cardhost_tests::{
    client::refusal,
    daemon::Daemon,
    foreign::ForeignAuthority,
    soon,
    terminal::{PIN, Terminal, id},
};
use serde_json::Value;

async fn scene(options: &[&str]) -> (ForeignAuthority, Daemon, Terminal) {
    let authority = ForeignAuthority::start(options).await;
    let daemon = Daemon::start_with(authority.options()).await;
    let terminal = daemon.terminal("till-1", "alice").await;
    (authority, daemon, terminal)
}

#[tokio::test]
async fn a_card_lives_with_a_foreign_authority() {
    let (authority, daemon, terminal) = scene(&[]).await;
    let certificate = terminal.first("9A").await.unwrap();
    assert_eq!(terminal.authenticate(&certificate, Some(PIN)).await.unwrap()["result"], "success");
    let path = terminal.path(&format!("certificates/{}", id(&certificate)));
    let renewed =
        terminal.client.post(&format!("{path}/renewal"), Value::Object(Default::default())).await.unwrap();
    assert_ne!(renewed["serial"], certificate["serial"]);
    assert_eq!(terminal.authenticate(&certificate, Some(PIN)).await.unwrap()["result"], "success");

    assert_eq!(terminal.delete(&certificate).await, Err(refusal(409, "revoke-elsewhere")));
    authority.revoke(renewed["serial"].as_str().unwrap());
    let answer = terminal.authenticate(&certificate, Some(PIN)).await.unwrap();
    assert_eq!((&answer["result"], &answer["reason"]), (&"failure".into(), &"revoked".into()));

    let stated = format!("{path}?revoked_elsewhere=true");
    assert_eq!(terminal.client.delete(&stated).await.unwrap_err().status, 403, "only an operator may say so");
    let deleted = daemon.administrator().await.delete(&stated).await.unwrap();
    assert_eq!(deleted["card_destroyed"], true);
    assert_eq!(daemon.card("till-1").await["state"], "absent");
}

#[tokio::test]
async fn an_authority_that_takes_its_time_is_waited_for() {
    let (authority, _daemon, terminal) = scene(&["--tls12", "--delay"]).await;
    let certificate = terminal.first("9A").await.unwrap();
    assert_eq!(authority.issued(), 1);
    assert_eq!(terminal.authenticate(&certificate, Some(PIN)).await.unwrap()["result"], "success");
}

#[tokio::test]
async fn what_a_foreign_authority_may_have_issued_is_listed_for_the_operator() {
    let (authority, daemon, terminal) = scene(&[]).await;
    authority.lose_answers(true);
    assert_eq!(terminal.first("9A").await, Err(refusal(503, "authority-unreachable")));
    assert_eq!(authority.issued(), 1);
    authority.lose_answers(false);
    assert_eq!(daemon.card("till-1").await["state"], "absent");

    let administrator = daemon.administrator().await;
    let orphan = soon("the orphan is listed", async {
        // The reconciliation tells nobody of its end.
        let mut pause = tokio::time::interval(Duration::from_millis(50));
        loop {
            pause.tick().await;
            let list = administrator.get("/v1/orphans").await.unwrap();
            if let [orphan] = &list["orphans"].as_array().unwrap()[..] {
                return orphan.clone();
            }
        }
    });
    let orphan = orphan.await;
    assert_eq!(orphan["terminal"], "till-1");
    administrator.delete(&format!("/v1/orphans/{}", orphan["id"])).await.unwrap();
    assert_eq!(administrator.get("/v1/orphans").await.unwrap()["orphans"], Value::Array(Vec::new()));
}
