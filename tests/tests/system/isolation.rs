//! What the host says of the layers between its cards and itself: readiness, figures, log and doctor say the same.

use std::{
    fs,
    path::{Path, PathBuf},
};

use cardhost_tests::{daemon::Daemon, needs_kvm, process::command};
use reqwest::Method;
use serde_json::Value;

/// Each layer by its name, and whether it holds.
type Layers = Vec<(String, bool)>;

async fn ready(daemon: &Daemon) -> Option<Layers> {
    let ready = daemon.anonymous(None).get("/readyz").await.ok()?;
    let layers = ready["layers"].as_array()?.iter();
    Some(layers.map(|layer| (text(&layer["layer"]), layer["holds"].as_bool().unwrap())).collect())
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

/// The findings of `cardhost doctor` that are about layers.
async fn doctor(data: &Path, layers: &Layers) -> Vec<Value> {
    let output = command("cardhost", ["doctor", "--json"]).env("CARDHOST_DATA", data).output().await.unwrap();
    let findings =
        output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    findings.filter(|finding: &Value| layers.iter().any(|(name, _)| finding["check"] == **name)).collect()
}

#[tokio::test]
async fn readiness_figures_log_and_doctor_tell_the_same_layers() {
    let daemon = Daemon::start().await;
    let layers = ready(&daemon).await.expect("cards can run");
    assert_eq!(layers.len(), 10);
    let figures = daemon.anonymous(None).request(Method::GET, "/metrics").send().await.unwrap();
    let figures = figures.text().await.unwrap();
    let log = daemon.server.log();
    let findings = doctor(daemon.data(), &layers).await;
    assert_eq!(findings.len(), layers.len());
    for ((name, holds), finding) in layers.iter().zip(findings) {
        let gauge = format!("cardhost_isolation_layer{{layer=\"{name}\"}} {}", u8::from(*holds));
        assert!(figures.lines().any(|line| line == gauge), "{gauge}\n{figures}");
        let warnings = log.lines().filter(|line| line.contains("layer between cards and host is missing"));
        let warned = warnings.filter(|line| line.contains(&format!("\"{name}\""))).count();
        assert_eq!(warned, usize::from(!holds), "{name}: {log}");
        assert_eq!(finding["check"], **name);
        assert_eq!(finding["verdict"], if *holds { "good" } else { "warning" });
        assert_eq!(finding["advice"].is_null(), *holds, "{finding}");
    }
    assert!(layers.contains(&("cgroup".into(), false)), "nobody asked for control groups");
}

#[tokio::test]
async fn without_a_daemon_the_doctor_tells_what_one_would_have() {
    needs_kvm!();
    let daemon = Daemon::start().await;
    let layers = ready(&daemon).await.expect("cards can run");
    let empty = tempfile::tempdir().unwrap();
    let findings = doctor(empty.path(), &layers).await;
    assert_eq!(findings.len(), layers.len());
    for finding in findings {
        let holds = layers.iter().any(|(name, holds)| finding["check"] == **name && *holds);
        assert_eq!(finding["verdict"] == "good", holds, "{finding}");
    }
}

/// Below the groups of this process, where the host lets it.
#[tokio::test]
async fn cards_have_control_groups_if_that_is_asked_for() {
    let name = format!("cardhost-test-{}", std::process::id());
    let _removed = Removed(name.clone());
    let mut daemon = Daemon::start_with(vec!["--cgroup".into(), (&*name).into()]).await;
    let Some(layers) = ready(&daemon).await else {
        assert!(daemon.server.log().contains("control group"), "{}", daemon.server.log());
        eprintln!("\n### DID NOT RUN: {}: no control groups can be made here ###", module_path!());
        return;
    };
    let terminal = daemon.terminal("till-1", "alice").await;
    let certificate = terminal.first("9A").await.unwrap();
    let card = daemon.card_pid("till-1").await;
    let groups = fs::read_to_string(format!("/proc/{card}/cgroup")).unwrap();
    assert!(groups.contains(&format!("/{name}/card-")), "{groups}");
    assert!(!folders(Path::new(ROOT), &name).is_empty());
    assert!(layers.iter().any(|(layer, _)| layer == "cgroup"));
    assert_eq!(terminal.delete(&certificate).await.unwrap()["card_destroyed"], true);
    assert!(daemon.server.terminate().await);
    let left = |folder: &PathBuf| fs::read_dir(folder).unwrap().any(|entry| entry.unwrap().path().is_dir());
    assert!(!folders(Path::new(ROOT), &name).iter().any(left), "no card's group is left");
}

/// Where control groups are mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// The folders of this name.
fn folders(below: &Path, name: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(below) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir());
    paths.flat_map(|path| if path.ends_with(name) { vec![path] } else { folders(&path, name) }).collect()
}

/// Removes the parents that a launcher has made.
struct Removed(String);

impl Drop for Removed {
    fn drop(&mut self) {
        for folder in folders(Path::new(ROOT), &self.0) {
            // What a failed test left in it is seen there.
            let _ = fs::remove_dir(folder);
        }
    }
}
