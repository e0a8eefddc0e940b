//! Control groups of cards, with the hierarchies that this host has; what it has none of does not run, and says so.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use cardhost_wire::{
    launch::{Hello, Isolation, Reply},
    layers::LayerName,
};

use crate::{
    card::{Card, GATE},
    guest::Guest,
    launcher::{LIMIT_SECONDS, Launcher, hello, kvm},
    process::{guest_of, wait_for_end},
};

/// What bounds a card: controller, the files of version 1 and of version 2, and what stands in them.
const BOUNDS: [(&str, &str, &str, &str, &str); 3] = [
    ("memory", "memory.limit_in_bytes", "16777216", "memory.max", "16777216"),
    ("cpu", "cpu.cfs_quota_us", "50000", "cpu.max", "50000 100000"),
    ("pids", "pids.max", "4", "pids.max", "4"),
];
/// The hostile guest computes without end.
const COMPUTE: [u8; 4] = [0x80, 0x0C, 0, 0];

/// A parent for the groups of one test, in every hierarchy. Removed at the end.
struct Parent {
    name: String,
    folders: Vec<PathBuf>,
}

impl Parent {
    /// Below this process's own groups, or where these have to give nothing on, below the root.
    fn new() -> Option<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("cardhost-test-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut whys = Vec::new();
        for name in [name.clone(), format!("/{name}")] {
            match Self::tried(name) {
                Ok(parent) => return Some(parent),
                Err(why) => whys.push(why),
            }
        }
        eprintln!("NOT RUN: this host gives no control groups: {}", whys.join("; "));
        None
    }

    /// A parent that a launcher can bound cards by in every way, or why it cannot.
    fn tried(name: String) -> Result<Self, String> {
        let launcher = Launcher::spawn(None);
        let guest = Guest::card();
        let measurement = guest.measurement;
        let host_key = launcher.host_key().to_str().unwrap().to_owned();
        let isolation = Isolation::Process;
        let control_group = Some(name.clone());
        launcher.introduce(guest, Hello { host_key, measurement, isolation, control_group, ..hello() });
        let layers = match launcher.next() {
            Reply::Ready { layers, .. } => layers,
            Reply::Unusable(why) => return Err(why),
            other => panic!("{other:?}"),
        };
        let folders = folders(&launcher.card().started(), &name);
        assert!(!folders.is_empty(), "a card that has answered is in its groups");
        launcher.close();
        let parent = Self { name, folders };
        let layer = layers.into_iter().find(|layer| layer.name == LayerName::ControlGroup).unwrap();
        if layer.holds { Ok(parent) } else { Err(layer.detail) }
    }

    fn launcher(&self, isolation: Isolation, guest: &Guest) -> Launcher {
        let launcher = Launcher::spawn(None);
        let host_key = launcher.host_key();
        self.greet(&launcher, isolation, guest, &host_key);
        let layers = launcher.ready(isolation);
        assert!(
            layers.iter().any(|layer| layer.name == LayerName::ControlGroup && layer.holds),
            "{layers:?}"
        );
        launcher
    }

    fn greet(&self, launcher: &Launcher, isolation: Isolation, guest: &Guest, host_key: &Path) {
        let host_key = host_key.to_str().unwrap().to_owned();
        let control_group = Some(self.name.clone());
        let measurement = guest.measurement;
        launcher.introduce(guest, Hello { host_key, measurement, isolation, control_group, ..hello() });
    }

    /// The cards' groups that are there.
    fn groups(&self) -> Vec<PathBuf> {
        let entries = self.folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        // A launcher whose socket was closed is still removing what is below.
        let limit = Instant::now() + Duration::from_secs(LIMIT_SECONDS as u64);
        for folder in &self.folders {
            while fs::remove_dir(folder).is_err() && folder.exists() && Instant::now() < limit {
                std::thread::yield_now();
            }
        }
    }
}

/// The folders that cards' groups are in.
fn folders(card: &Card, parent: &str) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = BOUNDS
        .iter()
        .filter_map(|(controller, ..)| folder(card.pid, controller))
        .filter(|folder| folder.parent().is_some_and(|above| above.ends_with(parent.trim_start_matches('/'))))
        .map(|folder| folder.parent().unwrap().to_owned())
        .collect();
    folders.sort();
    folders.dedup();
    folders
}

/// A process's group in the hierarchy of a controller, where that is mounted.
fn folder(pid: u32, controller: &str) -> Option<PathBuf> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let fields = |line: &str| {
        let (names, group) = line.split_once(':')?.1.split_once(':')?;
        Some((names.to_owned(), group.trim_start_matches('/').to_owned()))
    };
    let groups: Vec<_> = groups.lines().filter_map(fields).collect();
    let has = |names: &str| names.split(',').any(|name| name == controller);
    let (point, own) = match groups.iter().find(|(names, _)| has(names)) {
        Some((_, own)) => (mount_point("cgroup", has)?, own),
        None => (mount_point("cgroup2", |_| true)?, &groups.iter().find(|(names, _)| names.is_empty())?.1),
    };
    Some(point.join(own))
}

fn mount_point(kind: &str, has: impl Fn(&str) -> bool) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount = mounts.lines().find(|line| {
        let system: Vec<_> = line.split_once(" - ").unwrap().1.split(' ').collect();
        system[0] == kind && has(system[2])
    });
    mount?.split(' ').nth(4).map(PathBuf::from)
}

/// What stands in a file of the group in the version that this host has.
fn value(folder: &Path, version_1: &str, version_2: &str) -> String {
    let read = |name: &str| fs::read_to_string(folder.join(name));
    read(version_1).or_else(|_| read(version_2)).unwrap().trim().to_owned()
}

/// Its limits are set, and it is counted in them with all that it has.
#[test]
fn a_card_is_bounded_by_a_group_of_its_own() {
    let Some(parent) = Parent::new() else { return };
    for isolation in [Isolation::MicroVm, Isolation::Process] {
        if isolation == Isolation::MicroVm && !kvm() {
            continue;
        }
        let launcher = parent.launcher(isolation, Guest::card());
        let cards = [launcher.card().started(), launcher.card().started()];
        assert_ne!(folder(cards[0].pid, "memory"), folder(cards[1].pid, "memory"));
        for card in &cards {
            is_bounded(card, launcher.process.id());
            if isolation == Isolation::Process {
                let pids = folder(card.pid, "pids");
                assert_eq!(folder(guest_of(card), "pids"), pids, "a guest is in its card's group");
            }
        }
    }
}

fn is_bounded(card: &Card, launcher: u32) {
    for (controller, file_1, value_1, file_2, value_2) in BOUNDS {
        let folder = folder(card.pid, controller).unwrap();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.starts_with(&format!("card-{launcher}-")), "{controller}: {name}");
        let bound = value(&folder, file_1, file_2);
        assert!(bound == value_1 || bound == value_2, "{controller}: {bound}");
    }
    let number = |controller: &str, file_1: &str, file_2: &str| {
        value(&folder(card.pid, controller).unwrap(), file_1, file_2).parse::<u64>().unwrap()
    };
    assert_eq!(
        number("pids", "pids.current", "pids.current"),
        2,
        "its process, and KVM's thread or its guest"
    );
    let memory = number("memory", "memory.usage_in_bytes", "memory.current");
    assert!((64 << 10..8 << 20).contains(&memory), "{memory} bytes");
    for descriptor in fs::read_dir(format!("/proc/{}/fd", card.pid)).unwrap() {
        let target = fs::read_link(descriptor.unwrap().path()).unwrap();
        assert!(!target.to_string_lossy().contains("cardhost-test"), "{target:?}");
    }
}

/// The kernel says when it has made it wait.
#[test]
fn a_card_that_computes_without_end_is_throttled() {
    let Some(parent) = Parent::new() else { return };
    let launcher = parent.launcher(Isolation::Process, Guest::hostile());
    let mut card = launcher.card().started();
    card.link.message(GATE, &COMPUTE);
    let statistics = folder(card.pid, "cpu").unwrap().join("cpu.stat");
    until("it is throttled", || {
        let statistics = fs::read_to_string(&statistics).unwrap();
        statistics.lines().any(|line| line.strip_prefix("nr_throttled ").is_some_and(|count| count != "0"))
    });
}

#[test]
fn a_group_goes_with_its_card() {
    let Some(parent) = Parent::new() else { return };
    for isolation in [Isolation::MicroVm, Isolation::Process] {
        if isolation == Isolation::MicroVm && !kvm() {
            continue;
        }
        let launcher = parent.launcher(isolation, Guest::card());
        let neighbour = launcher.card().started();
        for _ in 0..3 {
            let card = launcher.card().started();
            launcher.kill(card.instance);
            launcher.ended(card.instance);
        }
        let group = folder(neighbour.pid, "memory").unwrap();
        let name = group.file_name().unwrap();
        // A guest may end a moment after its card's process.
        until("the others are gone", || parent.groups().iter().all(|group| group.ends_with(name)));
        assert_eq!(parent.groups().len(), parent.folders.len());
        assert!(launcher.close());
        assert_eq!(parent.groups(), [] as [PathBuf; 0], "the launcher's end leaves none");
    }
}

/// The cards end by themselves, their groups do not.
#[test]
fn what_a_killed_launcher_left_the_next_removes() {
    let Some(parent) = Parent::new() else { return };
    let mut launcher = parent.launcher(Isolation::Process, Guest::card());
    let cards = [launcher.card().started(), launcher.card().started()];
    let processes: Vec<_> = cards.iter().flat_map(|card| [guest_of(card), card.pid]).collect();
    launcher.process.kill().unwrap();
    launcher.process.wait().unwrap();
    processes.into_iter().for_each(wait_for_end);
    assert_eq!(parent.groups().len(), 2 * parent.folders.len());
    let next = Launcher::spawn(None);
    parent.greet(&next, Isolation::Process, Guest::card(), &launcher.host_key());
    next.ready(Isolation::Process);
    assert_eq!(parent.groups(), [] as [PathBuf; 0]);
    assert_eq!(next.card().started().instance, 0);
}

#[test]
fn two_launchers_do_not_share_a_parent() {
    let Some(parent) = Parent::new() else { return };
    let first = parent.launcher(Isolation::Process, Guest::card());
    let second = Launcher::spawn(None);
    parent.greet(&second, Isolation::Process, Guest::card(), &second.host_key());
    let Reply::Unusable(why) = second.next() else { panic!("it is in use") };
    assert!(why.contains("is another launcher's"), "{why}");
    first.card().started();
}

/// What was asked for and cannot be had is no reason to run cards without it.
#[test]
fn a_parent_that_cannot_be_made_is_told() {
    let launcher = Launcher::spawn(None);
    let parent = Parent { name: "/no/such/group".to_owned(), folders: Vec::new() };
    parent.greet(&launcher, Isolation::Process, Guest::card(), &launcher.host_key());
    let Reply::Unusable(why) = launcher.next() else { panic!("it cannot be made") };
    assert!(why.contains("control group"), "{why}");
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(LIMIT_SECONDS as u64);
    while !holds() {
        assert!(Instant::now() < limit, "not in time: {what}");
        std::thread::yield_now();
    }
}
