//! Old copies that are put back: the cards that changed since are refused until an operator restores them, and nothing
//! else is.

use std::{
    fs,
    path::{Path, PathBuf},
};

use cardhost_tests::{
    client::refusal,
    daemon::Daemon,
    needs_kvm,
    process::{command, ended},
    soon,
    terminal::{PIN, Terminal},
};
use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

const STORE: [&str; 3] = ["store.db", "store.db-wal", "store.db-shm"];
const WRONG: Option<&str> = Some("999999");

/// A copy of some files of a data directory whose daemon does not run.
struct Copy {
    folder: TempDir,
    files: &'static [&'static str],
}

impl Copy {
    fn of_store(data: &Path) -> Self {
        Self::of(data, &STORE)
    }

    fn of_store_and_anchor(data: &Path) -> Self {
        Self::of(data, &[STORE[0], STORE[1], STORE[2], "anchor"])
    }

    fn of(data: &Path, files: &'static [&'static str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for file in files.iter().filter(|file| data.join(file).exists()) {
            fs::copy(data.join(file), folder.path().join(file)).unwrap();
        }
        Self { folder, files }
    }

    fn put_back(&self, data: &Path) {
        for file in self.files {
            let (copy, place) = (self.folder.path().join(file), data.join(file));
            match copy.exists() {
                true => drop(fs::copy(copy, place).unwrap()),
                false => drop(fs::remove_file(place)),
            }
        }
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join(STORE[0])
    }
}

/// A daemon with terminals that have a card each.
async fn scene<const N: usize>() -> (Daemon, [Terminal; N], [Value; N]) {
    let daemon = Daemon::start().await;
    let (mut terminals, mut certificates) = (Vec::new(), Vec::new());
    for number in 1..=N {
        let terminal = daemon.terminal(&format!("till-{number}"), &format!("user-{number}")).await;
        certificates.push(terminal.first("9A").await.unwrap());
        terminals.push(terminal);
    }
    let Ok(terminals) = terminals.try_into() else { unreachable!("as many as there are") };
    (daemon, terminals, certificates.try_into().unwrap())
}

async fn terminate(daemon: &mut Daemon) {
    assert!(daemon.server.terminate().await, "the daemon ends in order");
}

/// The card changes: a try of the PIN is used up.
async fn change(terminal: &Terminal, certificate: &Value) {
    assert_eq!(terminal.authenticate(certificate, WRONG).await, Err(refusal(403, "pin-wrong")));
}

async fn works(terminal: &Terminal, certificate: &Value) {
    assert_eq!(terminal.authenticate(certificate, Some(PIN)).await, Ok(json!({ "result": "success" })));
}

/// State and reason.
async fn standing(daemon: &Daemon, terminal: &str) -> (String, Option<String>) {
    let card = daemon.card(terminal).await;
    (card["state"].as_str().unwrap().into(), card["reason"].as_str().map(Into::into))
}

fn refused(reason: &str) -> (String, Option<String>) {
    ("refused".into(), Some(reason.into()))
}

fn parked() -> (String, Option<String>) {
    ("parked".into(), None)
}

async fn figures(daemon: &Daemon) -> String {
    let answer = daemon.anonymous(None).request(Method::GET, "/metrics").send().await.unwrap();
    answer.text().await.unwrap()
}

/// What a daemon says that does not start.
async fn does_not_start(daemon: &Daemon) -> String {
    let mut serve = command("cardhost", ["serve", "--listen", "127.0.0.1:0", "--data"]);
    let output = soon("the daemon's end", serve.arg(daemon.data()).output()).await.unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn an_old_copy_of_the_store_refuses_exactly_the_cards_that_changed() {
    needs_kvm!();
    let (mut daemon, [one, two, three], [first, second, third]) = scene().await;
    terminate(&mut daemon).await;
    let copy = Copy::of_store(daemon.data());
    daemon.restart().await;
    change(&one, &first).await;
    three.create("9E").await.unwrap();
    terminate(&mut daemon).await;
    copy.put_back(daemon.data());
    daemon.restart().await;

    assert_eq!(one.authenticate(&first, Some(PIN)).await, Err(refusal(409, "card-refused")));
    let mut channel = one.open().await.unwrap();
    let absent = channel.event().await;
    assert!(
        absent["event"] == "absent" && absent["reason"].as_str().unwrap().contains("old state"),
        "{absent}"
    );
    channel.expect(&[0x00, 0xA4, 0x04, 0x00], 0x6F00).await;
    for terminal in ["till-1", "till-3"] {
        assert_eq!(standing(&daemon, terminal).await, refused("state-older-than-anchor"));
    }
    assert_eq!(standing(&daemon, "till-2").await, parked());
    works(&two, &second).await;
    // Each is told once, however often it was met.
    let detected: Vec<_> = daemon.audited("card-rolled-back").await;
    let terminals: Vec<_> = detected.iter().map(|entry| &entry["terminal"]).collect();
    assert_eq!(terminals, ["till-1", "till-3"]);
    assert!(figures(&daemon).await.contains("cardhost_rollbacks_detected_total 2"));

    let administrator = daemon.administrator().await;
    let restored = administrator.post("/v1/cards/till-1/restore", json!({})).await.unwrap();
    assert_eq!(restored["state"], "parked");
    channel.until("present").await;
    works(&one, &first).await;
    for again in ["till-1", "till-2"] {
        let again = administrator.post(&format!("/v1/cards/{again}/restore"), json!({})).await;
        assert_eq!(again, Err(refusal(409, "conflict")));
    }
    let [restoration] = &*daemon.audited("card-restored").await else { panic!("one is restored") };
    assert_eq!((&restoration["terminal"], &restoration["user"]), (&json!("till-1"), &json!("admin")));

    // What is decided stays so.
    daemon.kill_and_restart().await;
    works(&one, &first).await;
    assert_eq!(standing(&daemon, "till-3").await, refused("state-older-than-anchor"));
    let unasked = command("cardhost", ["card", "restore", "till-3", "--data"]).arg(daemon.data()).output();
    assert!(!unasked.await.unwrap().status.success());
    let restore =
        command("cardhost", ["card", "restore", "till-3", "--yes", "--data"]).arg(daemon.data()).output();
    assert!(restore.await.unwrap().status.success());
    works(&three, &third).await;
}

#[tokio::test]
async fn one_card_s_rows_put_back_or_changed_are_refused() {
    needs_kvm!();
    let (mut daemon, [one, two, three], [first, second, third]) = scene().await;
    terminate(&mut daemon).await;
    let copy = Copy::of_store(daemon.data());
    daemon.restart().await;
    change(&one, &first).await;
    change(&two, &second).await;
    change(&three, &third).await;
    terminate(&mut daemon).await;
    let database = Connection::open(daemon.data().join(STORE[0])).unwrap();
    database.execute("ATTACH ?1 AS old", [copy.database().to_str().unwrap()]).unwrap();
    database
        .execute_batch(
            "REPLACE INTO records SELECT * FROM old.records
                WHERE card = (SELECT card FROM cards WHERE terminal = 'till-1');
             UPDATE cards SET (epoch, head) = (SELECT epoch, head FROM old.cards WHERE terminal = 'till-1')
                WHERE terminal = 'till-1';
             UPDATE cards SET head = (SELECT head FROM old.cards WHERE terminal = 'till-2')
                WHERE terminal = 'till-2';",
        )
        .unwrap();
    drop(database);
    daemon.restart().await;
    assert_eq!(standing(&daemon, "till-1").await, refused("state-older-than-anchor"));
    assert_eq!(standing(&daemon, "till-2").await, refused("state-differs-from-anchor"));
    assert_eq!(two.authenticate(&second, Some(PIN)).await, Err(refusal(409, "card-refused")));
    works(&three, &third).await;
}

#[tokio::test]
async fn a_destroyed_card_does_not_come_back_and_a_missing_one_is_told() {
    needs_kvm!();
    let (mut daemon, [one, two, three], [first, _, third]) = scene().await;
    terminate(&mut daemon).await;
    let copy = Copy::of_store(daemon.data());
    daemon.restart().await;
    assert_eq!(one.delete(&first).await.unwrap()["card_destroyed"], true);
    terminate(&mut daemon).await;
    let database = Connection::open(daemon.data().join(STORE[0])).unwrap();
    database.execute("ATTACH ?1 AS old", [copy.database().to_str().unwrap()]).unwrap();
    database
        .execute_batch(
            "INSERT INTO cards SELECT * FROM old.cards WHERE terminal = 'till-1';
             INSERT INTO records SELECT * FROM old.records
                WHERE card = (SELECT card FROM cards WHERE terminal = 'till-1');
             INSERT INTO credentials SELECT * FROM old.credentials
                WHERE card = (SELECT card FROM cards WHERE terminal = 'till-1');
             DELETE FROM certificates WHERE terminal = 'till-2';
             DELETE FROM cards WHERE terminal = 'till-2';",
        )
        .unwrap();
    drop(database);
    daemon.restart().await;
    assert_eq!(standing(&daemon, "till-1").await, refused("destroyed-before"));
    assert_eq!(one.create("9C").await, Err(refusal(409, "card-refused")));
    assert!(two.certificates().await.is_empty());
    let [missing] = &*daemon.audited("cards-missing").await else { panic!("it is told") };
    assert_eq!(missing["detail"]["count"], "1");
    assert!(figures(&daemon).await.contains("cardhost_cards_missing 1"));
    works(&three, &third).await;
}

#[tokio::test]
async fn sudden_ends_right_after_acknowledged_changes_raise_no_alarm() {
    needs_kvm!();
    let (mut daemon, [one, two], [first, second]) = scene().await;
    for round in 0..12 {
        works(&one, &first).await;
        change(&one, &first).await;
        if round % 3 == 0 {
            // The anchor has this one, and only then comes another change.
            daemon.administrator().await.get("/v1/anchor").await.unwrap();
            works(&two, &second).await;
        }
        daemon.kill_and_restart().await;
    }
    works(&one, &first).await;
    let pid = daemon.card_pid("till-1").await;
    assert_eq!(one.delete(&first).await.unwrap()["card_destroyed"], true);
    daemon.kill_and_restart().await;
    ended(pid).await;
    works(&two, &second).await;
    for alarm in ["card-rolled-back", "cards-missing", "anchor-replaced"] {
        assert!(daemon.audited(alarm).await.is_empty(), "{alarm}");
    }
    assert_eq!(standing(&daemon, "till-1").await.0, "absent");
}

#[tokio::test]
async fn a_missing_foreign_or_older_anchor_needs_the_operator_s_statement() {
    needs_kvm!();
    let (mut daemon, [one], [first]) = scene().await;
    let mut other = Daemon::start().await;
    terminate(&mut daemon).await;
    terminate(&mut other).await;
    let anchor = daemon.data().join("anchor");
    let older = Copy::of(daemon.data(), &["anchor"]);
    daemon.restart().await;
    change(&one, &first).await;
    terminate(&mut daemon).await;
    let right = Copy::of(daemon.data(), &["anchor"]);

    older.put_back(daemon.data());
    assert!(does_not_start(&daemon).await.contains("is an older copy"));
    fs::copy(other.data().join("anchor"), &anchor).unwrap();
    assert!(does_not_start(&daemon).await.contains("is not this store's"));
    fs::write(&anchor, &fs::read(right.folder.path().join("anchor")).unwrap()[..60]).unwrap();
    assert!(does_not_start(&daemon).await.contains("is damaged"));
    fs::remove_file(&anchor).unwrap();
    assert!(does_not_start(&daemon).await.contains("--accept-new-anchor"));
    // Nothing was made in its place, and the right one is still accepted.
    assert!(!anchor.exists());
    right.put_back(daemon.data());
    daemon.restart().await;
    works(&one, &first).await;
    terminate(&mut daemon).await;

    fs::remove_file(&anchor).unwrap();
    daemon.restart_with(&["--accept-new-anchor"]).await;
    let [replaced] = &*daemon.audited("anchor-replaced").await else { panic!("it is audited") };
    assert!(replaced["detail"]["reason"].as_str().unwrap().contains("is missing"), "{replaced}");
    daemon.kill_and_restart().await;
    works(&one, &first).await;
}

#[tokio::test]
async fn an_exported_head_shows_that_store_and_anchor_were_both_put_back() {
    needs_kvm!();
    let (mut daemon, [one], [first]) = scene().await;
    terminate(&mut daemon).await;
    let copy = Copy::of_store_and_anchor(daemon.data());
    daemon.restart().await;
    change(&one, &first).await;
    let export = command("cardhost", ["anchor", "export", "--data"]).arg(daemon.data()).output();
    let head = daemon.data().join("head.json");
    fs::write(&head, export.await.unwrap().stdout).unwrap();
    change(&one, &first).await;
    // Beside the daemon.
    assert_eq!(verify(daemon.data(), &head).await, (true, String::new()));
    terminate(&mut daemon).await;
    copy.put_back(daemon.data());
    daemon.restart().await;
    // Nothing in the data directory tells.
    works(&one, &first).await;
    assert_eq!(standing(&daemon, "till-1").await.0, "live");
    let (holds, said) = verify(daemon.data(), &head).await;
    assert!(!holds && said.contains("older than this head"), "{said}");
}

/// Whether the anchor passes through this head, and what is said if not.
async fn verify(data: &Path, head: &Path) -> (bool, String) {
    let mut verify = command("cardhost", ["anchor", "verify", "--data"]);
    let output = verify.arg(data).arg("--head").arg(head).output().await.unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}
