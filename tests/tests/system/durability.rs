//! What was acknowledged survives the sudden end of every process.

use cardhost_tests::{
    channel::Channel,
    daemon::Daemon,
    piv,
    process::{children, ended, kill},
    terminal::{PIN, Terminal},
};
use cardhost_wire::key::KeyReference;
use serde_json::Value;

const DIGEST: [u8; 32] = [0x42; 32];

/// A card with two certificates and one used try of the PIN.
struct Scene {
    daemon: Daemon,
    terminal: Terminal,
    certificates: Vec<Value>,
}

impl Scene {
    async fn set() -> (Self, Channel) {
        let daemon = Daemon::start().await;
        let terminal = daemon.terminal("till-1", "alice").await;
        terminal.first("9A").await.unwrap();
        terminal.create("9E").await.unwrap();
        let mut channel = terminal.present().await;
        channel.expect(&piv::select(), 0x9000).await;
        channel.expect(&piv::verify("999999"), 0x63C2).await;
        let certificates = terminal.certificates().await;
        (Self { daemon, terminal, certificates }, channel)
    }

    /// The counter stands where it stood, both keys sign and fit their certificates.
    async fn holds(&self, channel: &mut Channel) {
        channel.expect(&piv::select(), 0x9000).await;
        channel.expect(&piv::verify(""), 0x63C2).await;
        channel.expect(&piv::sign(KeyReference::AUTHENTICATION, &DIGEST), 0x6982).await;
        assert_eq!(self.terminal.certificates().await, self.certificates);
        for certificate in &self.certificates {
            let answer = self.terminal.authenticate(certificate, Some(PIN)).await.unwrap();
            assert_eq!(answer["result"], "success");
        }
    }
}

#[tokio::test]
async fn a_killed_card_comes_back_with_all_it_acknowledged() {
    let (scene, mut channel) = Scene::set().await;
    kill(scene.daemon.card_pid("till-1").await);
    channel.until("absent").await;
    channel.until("present").await;
    scene.holds(&mut channel).await;
}

#[tokio::test]
async fn a_killed_launcher_is_replaced_and_its_cards_come_back() {
    let (scene, mut channel) = Scene::set().await;
    let card = scene.daemon.card_pid("till-1").await;
    let launchers = children(scene.daemon.server.pid());
    assert_eq!(launchers.len(), 1, "the daemon has one child");
    kill(launchers[0]);
    ended(card).await;
    channel.until("absent").await;
    channel.until("present").await;
    scene.holds(&mut channel).await;
}

#[tokio::test]
async fn a_killed_daemon_leaves_no_process_and_loses_nothing() {
    let (mut scene, mut channel) = Scene::set().await;
    let card = scene.daemon.card_pid("till-1").await;
    let launchers = children(scene.daemon.server.pid());
    scene.daemon.server.kill().await;
    channel.closed().await;
    for process in launchers.into_iter().chain([card]) {
        ended(process).await;
    }
    scene.daemon.restart().await;
    let mut channel = scene.terminal.present().await;
    scene.holds(&mut channel).await;
}
