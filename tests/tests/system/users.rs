//! The daemon as an ordinary user: in the group that owns `/dev/kvm`, and outside of it.

use cardhost_tests::{
    PROCESS_ISOLATION,
    client::refusal,
    daemon::Daemon,
    needs_kvm, piv,
    terminal::PIN,
    user::{OrdinaryUser, runs_as_nobody},
};
use cardhost_wire::key::KeyReference;
use reqwest::{Method, StatusCode};
use tokio::process::Command;

#[tokio::test]
async fn an_ordinary_user_in_the_group_runs_cards() {
    needs_kvm!();
    let Some(user) = OrdinaryUser::new(module_path!(), true) else { return };
    let daemon = Daemon::start_as(&user, Vec::new()).await;
    let terminal = daemon.terminal("till-1", "alice").await;
    let certificate = terminal.first("9A").await.unwrap();
    assert!(runs_as_nobody(daemon.server.pid()) && runs_as_nobody(daemon.card_pid("till-1").await));
    let mut channel = terminal.present().await;
    channel.expect(&piv::select(), 0x9000).await;
    channel.expect(&piv::verify(PIN), 0x9000).await;
    channel.expect(&piv::sign(KeyReference::AUTHENTICATION, &[7; 32]), 0x9000).await;
    assert_eq!(terminal.authenticate(&certificate, Some(PIN)).await.unwrap()["result"], "success");
}

#[tokio::test]
async fn without_access_everyone_is_told_what_to_do() {
    needs_kvm!();
    let Some(user) = OrdinaryUser::new(module_path!(), false) else { return };
    let daemon = Daemon::start_as(&user, Vec::new()).await;
    let ready = daemon.anonymous(None).request(Method::GET, "/readyz").send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    let detail = ready.text().await.unwrap();
    assert!(detail.contains("usermod -aG kvm"), "{detail}");
    assert!(detail.contains(PROCESS_ISOLATION), "{detail}");
    assert!(daemon.server.log().contains("usermod -aG kvm"));

    let terminal = daemon.terminal("till-1", "alice").await;
    assert_eq!(terminal.first("9A").await, Err(refusal(503, "card-unavailable")));
    assert_eq!(daemon.card("till-1").await["state"], "absent");
    assert!(terminal.certificates().await.is_empty());
}

#[tokio::test]
async fn without_access_cards_run_as_processes_if_that_is_asked_for() {
    needs_kvm!();
    let Some(user) = OrdinaryUser::new(module_path!(), false) else { return };
    let daemon = Daemon::start_as(&user, vec![PROCESS_ISOLATION.into()]).await;
    let terminal = daemon.terminal("till-1", "alice").await;
    let certificate = terminal.first("9A").await.unwrap();
    assert!(runs_as_nobody(daemon.card_pid("till-1").await));
    assert_eq!(daemon.card("till-1").await["isolation"], "process");
    assert_eq!(terminal.authenticate(&certificate, Some(PIN)).await.unwrap()["result"], "success");
}

#[tokio::test]
async fn the_doctor_tells_what_is_missing() {
    needs_kvm!();
    let Some(user) = OrdinaryUser::new(module_path!(), false) else { return };
    let line = user.command_line("cardhost");
    let doctor = Command::new(&line[0]).args(&line[1..]).arg("doctor").output().await.unwrap();
    let said = String::from_utf8_lossy(&doctor.stdout);
    assert!(!doctor.status.success());
    assert!(said.contains("/dev/kvm") && said.contains("usermod"), "{said}");
}
