//! The launcher: what it accepts, what it refuses, and that nothing outlives it.

use std::{
    fs,
    io::Read,
    os::{fd::AsFd, unix::fs::chown},
    path::PathBuf,
    process::Command,
};

use cardhost_wire::{
    control::GuestMessage,
    launch::{Hello, Isolation, Refusal, Reply, Request, UserIds, VERSION},
    link::Kind,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    guest::Guest,
    launcher::{Launcher, PROGRAM, hello, kvm},
};

const NOBODY: u32 = 65_534;
const KILLED: (Option<i32>, Option<i32>) = (None, Some(9));

#[test]
fn a_card_starts_again_with_its_wrapped_key_only_for_its_owner() {
    if !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::card());
    let wrapped = launcher.card().wrapped_key;
    let again = launcher.card_with(|start| start.wrapped_key = Some(wrapped.clone()));
    assert_eq!(again.wrapped_key, wrapped);
    let (refused, _) = launcher.start(|start| {
        start.wrapped_key = Some(wrapped.clone());
        start.owner = [9; 32];
    });
    assert!(matches!(refused, Reply::Refused { reason: Refusal::WrappedKey, .. }), "{refused:?}");
}

#[test]
fn a_killed_card_is_reported_and_its_neighbour_lives() {
    if !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::card());
    let (mut neighbour, card) = (launcher.card(), launcher.card());
    launcher.kill(card.instance);
    assert_eq!(launcher.ended(card.instance), KILLED);
    launcher.kill(card.instance);
    assert!(matches!(neighbour.start(), GuestMessage::Started(_)));
}

#[test]
fn a_closed_link_switches_the_card_off() {
    if !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::card());
    let card = launcher.card().started();
    let instance = card.instance;
    drop(card);
    assert_eq!(launcher.ended(instance), (Some(0), None));
}

/// The link ends where its process ends: that is how the daemon would see it too.
#[test]
fn the_launchers_end_ends_its_cards() {
    if !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::card());
    let mut cards = [launcher.card().started(), launcher.card().started()];
    assert!(launcher.close());
    for card in &mut cards {
        assert_eq!(card.link.receive(), None);
    }
}

/// What it has to say then finds the socket reset.
#[test]
fn a_daemon_that_hangs_up_with_replies_unread_is_no_failure() {
    if !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::card());
    let (card, neighbour) = (launcher.card(), launcher.card());
    let pid = Pid::from_raw(launcher.process.id() as i32);
    launcher.request(&Request::Kill { instance: card.instance }, None);
    while fs::exists(format!("/proc/{}", card.pid)).unwrap() {
        std::thread::yield_now();
    }
    kill(pid, Signal::SIGSTOP).unwrap();
    kill(Pid::from_raw(neighbour.pid as i32), Signal::SIGKILL).unwrap();
    drop(neighbour);
    let (mut process, _folder) = launcher.hang_up();
    kill(pid, Signal::SIGCONT).unwrap();
    assert!(process.wait().unwrap().success());
}

#[test]
fn the_launchers_death_ends_its_cards() {
    if !kvm() {
        return;
    }
    let mut launcher = Launcher::new(Guest::card());
    let mut card = launcher.card().started();
    launcher.process.kill().unwrap();
    launcher.process.wait().unwrap();
    assert_eq!(card.link.receive(), None);
}

#[test]
fn another_image_than_announced_is_refused() {
    if !kvm() {
        return;
    }
    let launcher = Launcher::spawn(None);
    launcher.hello(Guest::card(), [0; 32]);
    let Reply::Unusable(why) = launcher.next() else { panic!("refused") };
    assert!(why.contains("SHA-256"), "{why}");
    assert_eq!(launcher.next_if_any(), None);
}

#[test]
fn damaged_images_are_refused() {
    if !kvm() {
        return;
    }
    let elf = &Guest::card().elf;
    let mut writable_text = elf.clone();
    let table = u64::from_le_bytes(elf[32..40].try_into().unwrap()) as usize;
    writable_text[table + 4] = 7;
    for damaged in [vec![], elf[..1000].to_vec(), writable_text] {
        let launcher = Launcher::spawn(None);
        let guest = Guest::from_elf(damaged);
        launcher.hello(&guest, guest.measurement);
        assert!(matches!(launcher.next(), Reply::Unusable(_)));
    }
}

#[test]
fn another_protocol_version_is_refused() {
    let launcher = Launcher::spawn(None);
    let host_key = launcher.host_key().to_str().unwrap().to_owned();
    let image = tempfile::tempfile().unwrap();
    let hello = Hello { version: VERSION + 1, host_key, ..hello() };
    launcher.request(&Request::Hello(hello), Some(image.as_fd()));
    assert!(matches!(launcher.next(), Reply::Unusable(_)));
}

/// Only root can become somebody else; as another user `/dev/kvm` is the tester's own business.
#[test]
fn a_user_without_access_is_told_what_to_do() {
    if !nix::unistd::geteuid().is_root() || !kvm() || others_may_use_kvm() {
        return;
    }
    let launcher = Launcher::spawn(Some(NOBODY));
    launcher.hello(Guest::card(), Guest::card().measurement);
    let Reply::Unusable(why) = launcher.next() else { panic!("no access") };
    assert!(why.contains("usermod -aG kvm"), "{why}");
}

/// In a mount namespace of its own, where everybody may open `/dev/kvm`.
#[test]
fn an_ordinary_user_with_access_runs_cards() {
    if !nix::unistd::geteuid().is_root() || !kvm() {
        return;
    }
    let device = tempfile::tempdir().unwrap();
    let script = format!(
        "cd {} && mknod -m 666 kvm c 10 232 && mount --bind kvm /dev/kvm && exec setpriv --reuid {NOBODY} \
         --regid {NOBODY} --clear-groups {PROGRAM}",
        device.path().display()
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]);
    let launcher = Launcher::run(command);
    chown(launcher.folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    launcher.hello(Guest::card(), Guest::card().measurement);
    launcher.ready(Isolation::MicroVm);
    let mut card = launcher.card().started();
    assert!(card.link.statistics().resident_pages > 10);
}

/// No other card's process, nor anything else of the host, belongs to its user.
#[test]
fn each_card_is_a_user_without_privilege_of_its_own() {
    if !nix::unistd::geteuid().is_root() || !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::card());
    let mut cards = [launcher.card().started(), launcher.card().started()];
    let users = cards.each_mut().map(|card| {
        let status = fs::read_to_string(format!("/proc/{}/status", card.pid)).unwrap();
        let line =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        let ids: Vec<u32> = line("Uid:").split_whitespace().map(|id| id.parse().unwrap()).collect();
        assert!(ids.iter().all(|id| *id == ids[0] && *id >= UserIds::DEFAULT.first), "{ids:?}");
        assert_eq!(line("Gid:"), line("Uid:"));
        assert_eq!(line("Groups:"), "");
        for set in ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"] {
            assert_eq!(line(set), "0000000000000000", "{set}");
        }
        assert_eq!((line("NoNewPrivs:"), line("Seccomp:")), ("1".into(), "2".into()));
        assert!(card.link.statistics().resident_pages > 10);
        ids[0]
    });
    assert_ne!(users[0], users[1]);
}

/// Its link, standard error, `/dev/kvm`'s machine and processor, and the counters of its own memory.
#[test]
fn a_card_holds_only_the_descriptors_it_needs() {
    if !nix::unistd::geteuid().is_root() || !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::card());
    let card = launcher.card().started();
    let entries = fs::read_dir(format!("/proc/{}/fd", card.pid)).unwrap();
    let mut held: Vec<_> = entries
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name() != "2")
        .map(|entry| fs::read_link(entry.path()).unwrap().to_string_lossy().into_owned())
        .map(|target| if target.starts_with("socket:") { "link".into() } else { target })
        .collect();
    held.sort();
    let smaps = format!("/proc/{}/smaps", card.pid);
    assert_eq!(held, [smaps.as_str(), "anon_inode:kvm-vcpu:0", "anon_inode:kvm-vm", "link"]);
}

#[test]
fn cards_have_no_network() {
    if !nix::unistd::geteuid().is_root() || !kvm() || !namespaces_are_allowed() {
        return;
    }
    let launcher = Launcher::new(Guest::card());
    let card = launcher.card();
    for namespace in ["net", "ipc", "uts", "mnt"] {
        let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/{namespace}")).unwrap();
        assert_ne!(of(&card.pid.to_string()), of("self"), "{namespace}");
    }
}

/// Nothing to open, were it not for the filter: an empty root, and a `/proc` for the statistics.
#[test]
fn cards_have_an_empty_root() {
    if !nix::unistd::geteuid().is_root() || !kvm() || !namespaces_are_allowed() {
        return;
    }
    let launcher = Launcher::new(Guest::card());
    let mut card = launcher.card().started();
    let entries = fs::read_dir(format!("/proc/{}/root/", card.pid)).unwrap();
    let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["proc"]);
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", card.pid)).unwrap();
    let points: Vec<_> = mounts.lines().filter_map(|line| line.split_whitespace().nth(4)).collect();
    assert!(points.iter().all(|point| *point == "/" || point.starts_with("/proc")), "{mounts}");
    assert!(mounts.lines().any(|line| line.contains(" / / ro,")), "{mounts}");
    assert!(card.link.statistics().resident_pages > 10);
}

#[test]
fn a_card_is_bounded_by_limits() {
    if !nix::unistd::geteuid().is_root() || !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::card());
    let card = launcher.card().started();
    let limits = fs::read_to_string(format!("/proc/{}/limits", card.pid)).unwrap();
    for (name, most) in [
        ("Max core file size", "0"),
        ("Max locked memory", "0"),
        ("Max msgqueue size", "0"),
        ("Max open files", "16"),
        ("Max address space", "67108864"),
    ] {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        assert!(line.split_whitespace().take(2).all(|limit| limit == most), "{name}{line}");
    }
}

fn namespaces_are_allowed() -> bool {
    Command::new("unshare")
        .args(["--net", "--ipc", "--uts", "--mount", "true"])
        .status()
        .is_ok_and(|end| end.success())
}

/// The log may be a file: what ended the card must still be in it.
#[test]
fn a_crash_is_one_line_in_the_log() {
    if !kvm() {
        return;
    }
    let mut log = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new(PROGRAM);
    command.stderr(log.reopen().unwrap());
    let launcher = Launcher::run(command);
    launcher.hello(Guest::hostile(), Guest::hostile().measurement);
    launcher.ready(Isolation::MicroVm);
    let mut card = launcher.card().started();
    card.crash(&[0x80, 0x07, 0, 0]);
    launcher.ended(card.instance);
    let mut text = String::new();
    log.read_to_string(&mut text).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("the guest crashed")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(lines[0].contains("at rip 0x2"), "{text}");
}

fn others_may_use_kvm() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/dev/kvm").is_ok_and(|metadata| metadata.mode() & 0o006 != 0)
}

/// Standard error, link, template, the three of KVM, and what the statistics are read from. Nothing of other
/// cards, no socket of the launcher, no `/dev/kvm`.
#[test]
fn a_card_holds_few_descriptors() {
    if !kvm() || !nix::unistd::geteuid().is_root() {
        return;
    }
    let launcher = Launcher::new(Guest::card());
    let _earlier = launcher.card().started();
    let mut card = launcher.card().started();
    card.link.send(Kind::Query, 0, &[]);
    card.link.receive();
    let descriptors = fs::read_dir(format!("/proc/{}/fd", card.pid)).unwrap();
    let mut targets: Vec<PathBuf> =
        descriptors.map(|entry| fs::read_link(entry.unwrap().path()).unwrap()).collect();
    targets.sort();
    let sockets = targets.iter().filter(|target| target.starts_with("socket:")).count();
    assert!(sockets <= 1 + usize::from(standard_error_is_a_socket()), "{targets:?}");
    assert!(!targets.contains(&"/dev/kvm".into()), "{targets:?}");
    assert!(targets.len() <= 6, "{targets:?}");
}

fn standard_error_is_a_socket() -> bool {
    fs::read_link("/proc/self/fd/2").is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
}
