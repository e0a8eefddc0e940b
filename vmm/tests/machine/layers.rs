//! The layers that a launcher tells of are those that its cards have: compared with what `/proc` says of a card.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    process::Command,
};

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

/// The same with the two privileges that systemd's AmbientCapabilities= gives.
const PRIVILEGED: &str = "exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all,+setuid,+setgid \\
    --ambient-caps=-all,+setuid,+setgid --bounding-set=-all,+setuid,+setgid \"$0\"";
/// The same with ids set aside, for which a program takes a privilege.
const WITH_IDS: &str = "mount --bind \"$1\" /etc/subuid && mount --bind \"$1\" /etc/subgid &&
    exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all \"$0\"";
const SET_ASIDE: &str = "nobody:400000:65536\n";

#[test]
fn an_ordinary_users_layers_are_told_as_they_are() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let layers = ready(&ordinary(ORDINARY));
    assert!(!holds(&layers, LayerName::Users));
}

#[test]
fn two_privileges_are_enough_for_users_of_cards() {
    if !nix::unistd::geteuid().is_root() || !user_namespaces() {
        return;
    }
    let launcher = ordinary(PRIVILEGED);
    let layers = ready(&launcher);
    for there in [LayerName::Users, LayerName::Namespaces, LayerName::Root] {
        assert!(holds(&layers, there), "{there:?}");
    }
    let card = launcher.card().started();
    launcher.kill(card.instance);
    assert_eq!(launcher.ended(card.instance), (None, Some(9)), "the launcher may end it");
}

#[test]
fn ids_set_aside_are_enough_for_users_of_cards() {
    if !nix::unistd::geteuid().is_root() || !user_namespaces() || !ids_can_be_set_aside() {
        return;
    }
    let ids = tempfile::NamedTempFile::new().unwrap();
    fs::write(ids.path(), SET_ASIDE).unwrap();
    fs::set_permissions(ids.path(), Permissions::from_mode(0o644)).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", WITH_IDS, PROGRAM]).arg(ids.path());
    let launcher = given_away(Launcher::run(command));
    let layers = ready(&launcher);
    assert!(holds(&layers, LayerName::Users), "{layers:?}");
    let card = launcher.card().started();
    let status = fs::read_to_string(format!("/proc/{}/status", card.pid)).unwrap();
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap().split_whitespace();
    assert!(
        users.clone().count() == 4
            && users.clone().all(|user| (400_000..465_536).contains(&user.parse().unwrap()))
    );
    launcher.kill(card.instance);
    assert_eq!(launcher.ended(card.instance), (None, Some(9)), "the launcher may end it");
}

fn ordinary(script: &str) -> Launcher {
    let mut command = Command::new("sh");
    command.args(["-c", script, PROGRAM]);
    given_away(Launcher::run(command))
}

/// With a folder that an ordinary user may write.
fn given_away(launcher: Launcher) -> Launcher {
    chown(launcher.folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    launcher
}

/// True if an ordinary user may have a namespace of its own; else says that the test does not run.
fn user_namespaces() -> bool {
    let mut command = Command::new("setpriv");
    let nobody = NOBODY.to_string();
    command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups", "unshare", "--user", "true"]);
    let given = command.status().is_ok_and(|end| end.success());
    if !given {
        eprintln!("NOT RUN: ordinary users have no user namespaces here");
    }
    given
}

fn ids_can_be_set_aside() -> bool {
    let needed = ["/usr/bin/newuidmap", "/usr/bin/newgidmap", "/etc/subuid", "/etc/subgid"];
    let missing = needed.into_iter().find(|path| !Path::new(path).exists());
    if let Some(missing) = missing {
        eprintln!("NOT RUN: there is no {missing} (package uidmap)");
    }
    missing.is_none()
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
