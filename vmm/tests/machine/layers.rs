//! The layers that a launcher tells of are those that its cards have: compared with what `/proc` says of a card.

use std::{fs, os::unix::fs::chown, process::Command};

use cardhost_wire::{
    launch::Isolation,
    layers::{Layer, LayerName},
};

use crate::{
    card::Card,
    guest::Guest,
    launcher::{Launcher, PROGRAM, kvm},
};

const NOBODY: u32 = 65_534;

/// The layers that can be seen from outside of a card, as they are.
fn seen(card: &Card) -> [(LayerName, bool); 5] {
    let of = |process: &str, file: &str| fs::read_to_string(format!("/proc/{process}/{file}")).unwrap();
    let pid = card.pid.to_string();
    let status = of(&pid, "status");
    let field = |status: &str, name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
    };
    let links =
        |name: &str| [&pid, "self"].map(|process| fs::read_link(format!("/proc/{process}/{name}")).unwrap());
    let users = [&status, &of(&launcher_of(&status), "status")].map(|status| field(status, "Uid:"));
    let capabilities = ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"].map(|set| field(&status, set));
    let [namespace, hosts] = links("ns/net");
    let root = fs::read_dir(format!("/proc/{pid}/root/")).unwrap().count();
    [
        (LayerName::Users, users[0] != users[1]),
        (LayerName::Capabilities, capabilities.iter().all(|set| set == "0000000000000000")),
        (LayerName::Namespaces, namespace != hosts),
        (LayerName::Root, root == 1),
        (LayerName::SystemCalls, field(&status, "Seccomp:") == "2"),
    ]
}

fn launcher_of(status: &str) -> String {
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().to_owned()
}

fn assert_told(layers: &[Layer], card: &Card) {
    for (name, there) in seen(card) {
        let layer = layers.iter().find(|layer| layer.name == name).unwrap();
        assert_eq!(layer.holds, there, "{layer}");
    }
}

fn holds(layers: &[Layer], name: LayerName) -> bool {
    layers.iter().any(|layer| layer.name == name && layer.holds)
}

#[test]
fn layers_are_told_as_they_are() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    for isolation in [Isolation::MicroVm, Isolation::Process] {
        if isolation == Isolation::MicroVm && !kvm() {
            continue;
        }
        let launcher = Launcher::spawn(None);
        launcher.hello_as(isolation, Guest::card());
        let layers = launcher.ready(isolation);
        assert_told(&layers, &launcher.card().started());
        assert_eq!(holds(&layers, LayerName::VirtualMachine), isolation == Isolation::MicroVm);
        assert!(!holds(&layers, LayerName::ControlGroup), "nobody asked for it");
    }
}

/// Becomes an ordinary user, who may have namespaces of its own.
const ORDINARY: &str =
    "exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all \"$0\"";
/// Has no privilege, in a user namespace that has no other below it.
const BARE: &str = "echo 0 >/proc/sys/user/max_user_namespaces
    exec setpriv --inh-caps=-all --bounding-set=-all \"$0\"";

#[test]
fn an_ordinary_users_layers_are_told_as_they_are() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let mut command = Command::new("sh");
    command.args(["-c", ORDINARY, PROGRAM]);
    let launcher = Launcher::run(command);
    chown(launcher.folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let layers = ready(&launcher);
    assert!(!holds(&layers, LayerName::Users));
}

#[test]
fn layers_that_the_host_does_not_give_are_told() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", BARE, PROGRAM]);
    let layers = ready(&Launcher::run(command));
    for missing in [LayerName::Users, LayerName::Namespaces, LayerName::Root] {
        assert!(!holds(&layers, missing), "{missing:?}");
    }
}

/// What a launcher tells, compared with a card of it.
fn ready(launcher: &Launcher) -> Vec<Layer> {
    launcher.hello_as(Isolation::Process, Guest::card());
    let layers = launcher.ready(Isolation::Process);
    assert_told(&layers, &launcher.card().started());
    layers
}
