//! A new guest image, adopted card by card: until a card's first change the image before takes it back, afterwards no
//! image that was left behind does, and no sudden end loses a card.

use std::{fs, path::PathBuf};

use cardhost_tests::{
    client::refusal,
    daemon::Daemon,
    needs_kvm, piv,
    process::{command, ended},
    saboteur::{Saboteur, can_trace},
    soon,
    terminal::{PIN, Terminal},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const NEW_PIN: &str = "271828";

/// The embedded guest with bytes behind it that no program header names: the same program of another measurement.
struct Later {
    sha256: String,
    options: [String; 2],
}

impl Later {
    fn new(daemon: &Daemon, number: u8) -> Self {
        let guest = [cardhost_image::GUEST, &[number]].concat();
        let path: PathBuf = daemon.data().join(format!("guest-{number}"));
        fs::write(&path, &guest).unwrap();
        let options = ["--guest-image".to_owned(), path.to_str().unwrap().to_owned()];
        Self { sha256: hex::encode(Sha256::digest(&guest)), options }
    }

    /// `kill -9` of the daemon, and a start under this image.
    async fn takes_over(&self, daemon: &mut Daemon, further: &[&str]) {
        daemon.server.kill().await;
        let options: Vec<_> =
            self.options.iter().map(String::as_str).chain(further.iter().copied()).collect();
        daemon.restart_with(&options).await;
    }
}

fn embedded() -> String {
    hex::encode(cardhost_image::GUEST_SHA256)
}

/// A terminal whose card has a key that needs no PIN: using it changes nothing in the card.
async fn terminal(daemon: &Daemon, name: &str, owner: &str) -> (Terminal, Value) {
    let terminal = daemon.terminal(name, owner).await;
    let certificate = terminal.first("9E").await.unwrap();
    (terminal, certificate)
}

async fn signs(terminal: &Terminal, certificate: &Value) {
    assert_eq!(terminal.authenticate(certificate, None).await.unwrap()["result"], "success");
}

/// The image that wrote the card last, and the one that it runs under if that is another.
async fn images(daemon: &Daemon) -> (Value, Value) {
    let card = daemon.card("till-1").await;
    (card["image"].clone(), card["runs_under"].clone())
}

async fn change_pin(terminal: &Terminal, from: &str, to: &str) {
    let mut channel = terminal.present().await;
    channel.expect(&piv::select(), 0x9000).await;
    channel.expect(&piv::change(from, to), 0x9000).await;
}

async fn verifies(terminal: &Terminal, pin: &str) -> bool {
    let mut channel = terminal.present().await;
    channel.expect(&piv::select(), 0x9000).await;
    let response = channel.transmit(&piv::verify(pin)).await;
    channel.close().await;
    response == [0x90, 0x00]
}

async fn is_refused(daemon: &Daemon, terminal: &Terminal, certificate: &Value, reason: &str) {
    let card = daemon.card(&terminal.name).await;
    assert_eq!((&card["state"], &card["reason"]), (&json!("refused"), &json!(reason)), "{card}");
    assert_eq!(terminal.authenticate(certificate, None).await, Err(refusal(409, "card-refused")));
    let absent = terminal.open().await.unwrap().event().await;
    assert!(
        absent["event"] == "absent" && absent["reason"].as_str().unwrap().contains("guest image"),
        "{absent}"
    );
}

async fn upgrade_and_roll_back(mut daemon: Daemon) {
    let (terminal, certificate) = terminal(&daemon, "till-1", "alice").await;
    let later = Later::new(&daemon, 1);
    later.takes_over(&mut daemon, &[]).await;
    assert!(daemon.server.log().contains("instead of the embedded one"));
    signs(&terminal, &certificate).await;
    assert_eq!(images(&daemon).await, (json!(embedded()), json!(later.sha256)));

    daemon.kill_and_restart().await;
    signs(&terminal, &certificate).await;
    assert_eq!(images(&daemon).await, (json!(embedded()), Value::Null));
    later.takes_over(&mut daemon, &[]).await;
    change_pin(&terminal, PIN, NEW_PIN).await;
    assert_eq!(images(&daemon).await, (json!(later.sha256), Value::Null));
    let adopted = daemon.audited("card-adopted").await;
    let [adopted] = &*adopted else { panic!("{adopted:?}") };
    assert_eq!((&adopted["terminal"], &adopted["user"]), (&json!("till-1"), &Value::Null));
    assert_eq!(adopted["detail"]["from"], embedded());
    assert_eq!(adopted["detail"]["to"], later.sha256);
    assert_eq!(adopted["detail"]["adopted-by"], "host-policy");

    daemon.kill_and_restart().await;
    is_refused(&daemon, &terminal, &certificate, "image-left-behind").await;
    let back = daemon.administrator().await.post("/v1/cards/till-1/adopt", json!({})).await;
    assert_eq!(back, Err(refusal(409, "image-left-behind")));
    is_refused(&daemon, &terminal, &certificate, "image-left-behind").await;
    later.takes_over(&mut daemon, &[]).await;
    signs(&terminal, &certificate).await;
    assert!(verifies(&terminal, NEW_PIN).await);
    let verified = command("cardhost", ["audit", "verify", "--data"]).arg(daemon.data()).output().await;
    assert!(verified.unwrap().status.success());
}

#[tokio::test]
async fn an_upgrade_is_taken_back_until_a_card_s_first_change() {
    needs_kvm!();
    upgrade_and_roll_back(Daemon::start().await).await;
}

#[tokio::test]
async fn cards_as_processes_are_adopted_likewise() {
    upgrade_and_roll_back(Daemon::start_with_processes().await).await;
}

#[tokio::test]
async fn pinned_cards_are_refused_until_an_operator_has_each_adopted() {
    needs_kvm!();
    let mut daemon = Daemon::start().await;
    let (one, first) = terminal(&daemon, "till-1", "alice").await;
    let (two, second) = terminal(&daemon, "till-2", "bob").await;
    daemon.terminal("till-3", "carol").await;
    let later = Later::new(&daemon, 1);
    later.takes_over(&mut daemon, &["--image-policy", "pinned"]).await;
    is_refused(&daemon, &one, &first, "image-not-adopted").await;
    let mut channel = one.open().await.unwrap();
    channel.until("absent").await;

    let adopt = command("cardhost", ["card", "adopt", "till-1", "--data"]).arg(daemon.data()).output().await;
    assert!(adopt.unwrap().status.success());
    channel.until("present").await;
    channel.close().await;
    signs(&one, &first).await;
    is_refused(&daemon, &two, &second, "image-not-adopted").await;
    let administrator = daemon.administrator().await;
    let again = administrator.post("/v1/cards/till-1/adopt", json!({})).await.unwrap();
    assert_eq!((&again["image"], &again["runs_under"]), (&json!(embedded()), &json!(later.sha256)));
    for nothing in ["till-3", "till-4"] {
        let answer = administrator.post(&format!("/v1/cards/{nothing}/adopt"), json!({})).await;
        assert_eq!(answer, Err(refusal(404, "not-found")), "{nothing}");
    }

    // The image before has it still, and what it writes does not take the permission away.
    daemon.kill_and_restart().await;
    change_pin(&one, PIN, NEW_PIN).await;
    later.takes_over(&mut daemon, &["--image-policy", "pinned"]).await;
    assert!(verifies(&one, NEW_PIN).await);
    assert_eq!(images(&daemon).await, (json!(later.sha256), Value::Null));
    let administrator = daemon.administrator().await;
    let settled = administrator.post("/v1/cards/till-1/adopt", json!({})).await;
    assert_eq!(settled, Err(refusal(409, "already-adopted")));
    let (allowed, adopted) =
        (daemon.audited("card-image-allowed").await, daemon.audited("card-adopted").await);
    assert_eq!(allowed.iter().map(|entry| &entry["user"]).collect::<Vec<_>>(), [&json!("admin")]);
    let by = adopted.iter().map(|entry| &entry["detail"]["adopted-by"]);
    assert_eq!(by.collect::<Vec<_>>(), [&json!("operator")]);
    daemon.kill_and_restart().await;
    signs(&two, &second).await;
}

#[tokio::test]
async fn a_rotation_of_the_host_s_keys_keeps_a_card_that_is_being_adopted() {
    needs_kvm!();
    let mut daemon = Daemon::start().await;
    let (terminal, certificate) = terminal(&daemon, "till-1", "alice").await;
    let later = Later::new(&daemon, 1);
    let rotate = async |daemon: &Daemon| {
        let rotated = command("cardhost", ["key", "rotate", "--data"]).arg(daemon.data()).output().await;
        assert!(rotated.unwrap().status.success());
    };
    later.takes_over(&mut daemon, &[]).await;
    signs(&terminal, &certificate).await;
    rotate(&daemon).await;
    assert_eq!(images(&daemon).await, (json!(embedded()), json!(later.sha256)));
    daemon.kill_and_restart().await;
    signs(&terminal, &certificate).await;
    later.takes_over(&mut daemon, &[]).await;
    signs(&terminal, &certificate).await;
    let pid = daemon.card_pid("till-1").await;
    rotate(&daemon).await;
    change_pin(&terminal, PIN, NEW_PIN).await;
    assert_eq!(daemon.card_pid("till-1").await, pid);
    assert_eq!(images(&daemon).await, (json!(later.sha256), Value::Null));
    rotate(&daemon).await;
    later.takes_over(&mut daemon, &[]).await;
    assert!(verifies(&terminal, NEW_PIN).await);
    daemon.kill_and_restart().await;
    is_refused(&daemon, &terminal, &certificate, "image-left-behind").await;
}

/// Every round is another image. Where the card was not moved over yet the image before still has it.
#[tokio::test]
async fn a_daemon_killed_at_any_write_of_a_settlement_leaves_a_card_that_starts() {
    needs_kvm!();
    if !can_trace(module_path!()) {
        return;
    }
    let mut daemon = Daemon::start().await;
    let (terminal, certificate) = terminal(&daemon, "till-1", "alice").await;
    let (mut before, mut pins) = (Later::new(&daemon, 0), [PIN, NEW_PIN]);
    before.takes_over(&mut daemon, &[]).await;
    assert!(verifies(&terminal, PIN).await);
    let mut moved = Vec::new();
    for write in 1.. {
        let later = Later::new(&daemon, write);
        later.takes_over(&mut daemon, &[]).await;
        let mut channel = terminal.present().await;
        channel.expect(&piv::select(), 0x9000).await;
        let mut saboteur = Saboteur::attach(daemon.server.pid(), write.into()).await;
        let change = piv::change(pins[0], pins[1]);
        let struck = tokio::select! {
            response = channel.transmit(&change) => {
                assert_eq!(response, [0x90, 0x00]);
                false
            }
            () = saboteur.strike() => true,
        };
        if !struck {
            saboteur.release().await;
            assert!(moved.contains(&true), "{moved:?}");
            break;
        }
        let card = cards(&daemon);
        daemon.server.kill().await;
        saboteur.detach().await;
        for process in card {
            ended(process).await;
        }
        daemon.restart_with(&later.options.each_ref().map(String::as_str)).await;
        let is_moved = images(&daemon).await.0 == json!(later.sha256);
        moved.push(is_moved);
        if !is_moved {
            before.takes_over(&mut daemon, &[]).await;
            signs(&terminal, &certificate).await;
            later.takes_over(&mut daemon, &[]).await;
        }
        signs(&terminal, &certificate).await;
        if !verifies(&terminal, pins[0]).await {
            pins.reverse();
        }
        assert!(verifies(&terminal, pins[0]).await);
        assert_eq!(images(&daemon).await, (json!(later.sha256), Value::Null));
        before = later;
    }
    let adopted = daemon.audited("card-adopted").await.len();
    assert_eq!(adopted, moved.len() + 2, "each image once");
}

/// The processes of the daemon's launcher: its cards.
fn cards(daemon: &Daemon) -> Vec<u32> {
    use cardhost_tests::process::children;
    children(daemon.server.pid()).into_iter().flat_map(children).collect()
}

#[tokio::test]
async fn a_daemon_does_not_start_with_what_is_no_guest() {
    needs_kvm!();
    let mut daemon = Daemon::start().await;
    let (terminal, certificate) = terminal(&daemon, "till-1", "alice").await;
    assert!(daemon.server.terminate().await);
    let path = daemon.data().join("no-guest");
    let text: &[u8] = b"no guest";
    for content in
        [Some(&[][..]), Some(text), Some(&cardhost_image::GUEST[..200_000]), Some(cardhost_image::VMM), None]
    {
        match content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let mut serve = command("cardhost", ["serve", "--listen", "127.0.0.1:0", "--data"]);
        serve.arg(daemon.data()).arg("--guest-image").arg(&path);
        let output = soon("the daemon's end", serve.output()).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && said.contains("guest image") && said.contains("no-guest"),
            "{said}"
        );
    }
    daemon.restart().await;
    signs(&terminal, &certificate).await;
}
