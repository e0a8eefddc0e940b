//! The program `cardhost` as operators run it.
#![forbid(unsafe_code)]

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

fn cardhost(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cardhost"));
    command.env_clear().env("CARDHOST_DATA", data).env("CARDHOST_LOG", "warn");
    command
}

/// A daemon in a process of its own; killed on drop.
struct Daemon {
    process: Child,
    directory: TempDir,
}

impl Daemon {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut process = cardhost(directory.path())
            .args(["serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("ready https://127.0.0.1:"), "{line}");
        Self { process, directory }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        cardhost(self.directory.path()).args(arguments).output().unwrap()
    }

    /// Runs a command that succeeds, and its JSON.
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs a command that fails, and its message.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        text(&output.stderr)
    }

    fn end(&mut self, signal: Signal) -> bool {
        kill(Pid::from_raw(self.process.id().try_into().unwrap()), signal).unwrap();
        self.process.wait().unwrap().success()
    }

    fn user(&self, name: &str) {
        let password = self.directory.path().join("password");
        std::fs::write(&password, "a good password\n").unwrap();
        self.json(&["user", "set", name, "--password-file", password.to_str().unwrap()]);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn both_signals_end_the_daemon_in_good_order() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        assert!(Daemon::start().end(signal));
    }
}

#[test]
fn a_second_daemon_says_that_the_directory_is_in_use() {
    let daemon = Daemon::start();
    let said = daemon.refused(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(said.contains("is in use by another cardhost daemon"), "{said}");
}

#[test]
fn operators_manage_users_and_terminals() {
    let daemon = Daemon::start();
    daemon.user("alice");
    assert_eq!(daemon.json(&["user", "list"])["users"][1]["user"], "alice");
    daemon.json(&["terminal", "assign", "till", "--owner", "alice"]);
    assert_eq!(daemon.json(&["terminal", "list"])["terminals"][0]["owner"], "alice");
    assert!(daemon.refused(&["user", "delete", "alice"]).contains("terminals are assigned to this user"));
    daemon.json(&["terminal", "delete", "till"]);
    daemon.json(&["user", "delete", "alice"]);
    let table = daemon.run(&["user", "list"]);
    assert_eq!(text(&table.stdout), "USER   ROLE\nadmin  administrator\n");
}

#[test]
fn another_user_logs_in_by_the_environment() {
    let daemon = Daemon::start();
    daemon.user("alice");
    let mut command = cardhost(daemon.directory.path());
    command.args(["user", "list"]).env("CARDHOST_USER", "alice").env("CARDHOST_PASSWORD", "a good password");
    let said = text(&command.output().unwrap().stderr);
    assert!(said.contains("administrator-only"), "{said}");
}

#[test]
fn pairings_are_those_of_a_card() {
    let daemon = Daemon::start();
    daemon.user("alice");
    daemon.json(&["terminal", "assign", "till", "--owner", "alice"]);
    let pairings = ["card", "pairings", "till"];
    assert!(daemon.refused(&pairings).contains("not-found: there is no such card"));
    for (wrong, said) in [
        (&["--policy", "closed"][..], "possible values: open, paired-only"),
        (&["--revoke", "6"], "two hexadecimal digits"),
        (&["--revoke", "60/"], "two hexadecimal digits"),
        (&["--revoke", "60", "--revoke-all"], "cannot be used with"),
    ] {
        let refused = daemon.refused(&[&pairings, wrong].concat());
        assert!(refused.contains(said), "{wrong:?}: {refused}");
    }
}

#[test]
fn without_a_daemon_commands_say_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let output = cardhost(directory.path()).args(["user", "list"]).output().unwrap();
    assert!(text(&output.stderr).contains("start `cardhost serve`"));
    assert!(!output.status.success());
}

#[test]
fn doctor_prints_each_check_and_tells_whether_cards_can_run() {
    let directory = tempfile::tempdir().unwrap();
    let output = cardhost(directory.path()).args(["doctor", "--json"]).output().unwrap();
    let findings: Vec<Value> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    assert!(findings.iter().any(|finding| finding["check"] == "/dev/kvm"));
    let failed = findings.iter().any(|finding| finding["verdict"] == "failure");
    assert_eq!(output.status.success(), !failed);
}

#[test]
fn the_audit_log_verifies_without_a_daemon_until_it_is_changed() {
    let mut daemon = Daemon::start();
    daemon.user("alice");
    assert_eq!(daemon.json(&["audit", "list"])["entries"].as_array().unwrap().len(), 2);
    assert!(text(&daemon.run(&["audit", "list"]).stdout).contains("user-put"));
    assert!(daemon.end(Signal::SIGTERM));
    let output = daemon.run(&["audit", "verify"]);
    assert!(text(&output.stdout).starts_with("the audit log holds: 2 entries"), "{}", text(&output.stderr));
    let database = rusqlite::Connection::open(daemon.directory.path().join("store.db")).unwrap();
    database.execute("DELETE FROM audit WHERE sequence = 1", []).unwrap();
    assert!(daemon.refused(&["audit", "verify"]).contains("entry 1 is missing"));
}

#[test]
fn the_embedded_image_is_saved_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("guest");
    let save = || cardhost(folder.path()).args(["image", "save"]).arg(&file).output().unwrap();
    let (saved, shown) = (save(), cardhost(folder.path()).args(["image", "show"]).output().unwrap());
    assert!(saved.status.success() && std::fs::read(&file).unwrap() == cardhost_image::GUEST);
    let sha256 = text(&shown.stdout);
    assert_eq!(
        (sha256.trim(), text(&saved.stdout)),
        (&*hex::encode(cardhost_image::GUEST_SHA256), sha256.clone())
    );
    assert!(!save().status.success(), "a file that is there is left alone");
}

#[test]
fn help_says_of_each_command_what_it_is_for() {
    let directory = tempfile::tempdir().unwrap();
    let help = text(&cardhost(directory.path()).arg("--help").output().unwrap().stdout);
    for words in [
        "Manages the list of authorised users",
        "Manages terminals and the users they are assigned to",
        "Shows, parks, wakes, adopts, pairs and revokes cards",
        "Manages the keys that wrap",
    ] {
        assert!(help.contains(words), "{help}");
    }
}
