//! The warm pool: processes that wait for their card.

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use cardhost_wire::launch::{Hello, Isolation, Refusal, Reply};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    guest::Guest,
    launcher::{LIMIT_SECONDS, Launcher, hello, kvm},
};

const POOL: usize = 2;

/// A launcher whose pool is full.
pub fn filled(guest: &Guest) -> (Launcher, BTreeSet<u32>) {
    let launcher = launcher(guest);
    let waiting = until("the pool is full", || Some(children(&launcher)).filter(|all| all.len() == POOL));
    (launcher, waiting)
}

/// A launcher with a pool.
pub fn launcher(guest: &Guest) -> Launcher {
    let launcher = Launcher::spawn(None);
    let host_key = launcher.host_key().to_str().unwrap().to_owned();
    let (measurement, cpu_budget_ms) = (guest.measurement, guest.budget_ms);
    launcher
        .introduce(guest, Hello { host_key, measurement, cpu_budget_ms, warm_pool: POOL as u16, ..hello() });
    launcher.ready(Isolation::MicroVm);
    launcher
}

fn children(launcher: &Launcher) -> BTreeSet<u32> {
    let pid = launcher.process.id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn status(pid: u32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
}

/// True also if it was not reaped yet.
fn has_ended(pid: u32) -> bool {
    status(pid, "State:").is_none_or(|state| state.starts_with('Z'))
}

/// For what nobody tells of.
fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + Duration::from_secs(LIMIT_SECONDS as u64);
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < limit, "not in time: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_start_takes_a_process_that_waited_and_another_takes_its_place() {
    if !kvm() {
        return;
    }
    let (launcher, waiting) = filled(Guest::card());
    let card = launcher.card();
    assert!(waiting.contains(&card.pid));
    let refilled =
        until("the pool is full again", || Some(children(&launcher)).filter(|all| all.len() > POOL));
    assert!(refilled.is_superset(&waiting));
    let card = card.started();
    drop(card.link);
    assert_eq!(launcher.ended(card.instance), (Some(0), None));
}

/// As a card is that runs: nothing of it is left to be done when it gets its secrets.
#[test]
fn a_process_that_waits_is_confined() {
    if !kvm() {
        return;
    }
    let (_launcher, waiting) = filled(Guest::card());
    for pid in &waiting {
        until("its filter is there", || status(*pid, "Seccomp:").filter(|mode| mode == "2"));
        assert_eq!(status(*pid, "NoNewPrivs:").unwrap(), "1");
        assert_eq!(status(*pid, "CapPrm:").unwrap(), "0000000000000000");
    }
    if nix::unistd::geteuid().is_root() {
        let users: BTreeSet<_> = waiting.iter().map(|pid| status(*pid, "Uid:").unwrap()).collect();
        assert_eq!(users.len(), waiting.len(), "{users:?}");
    }
}

#[test]
fn more_starts_at_once_than_processes_wait_are_all_served() {
    if !kvm() {
        return;
    }
    let (launcher, waiting) = filled(Guest::card());
    let cards: Vec<_> = (0..3 * POOL).map(|_| launcher.card()).collect();
    let pids: BTreeSet<_> = cards.iter().map(|card| card.pid).collect();
    assert!(pids.is_superset(&waiting) && pids.len() == cards.len());
    for card in cards {
        card.started();
    }
}

/// The launcher may not know yet that they are dead when the start comes.
#[test]
fn processes_that_died_while_they_waited_cost_no_start() {
    if !kvm() {
        return;
    }
    let (launcher, waiting) = filled(Guest::card());
    for pid in &waiting {
        kill(Pid::from_raw(*pid as i32), Signal::SIGKILL).unwrap();
        until("it is dead", || has_ended(*pid).then_some(()));
    }
    let card = launcher.card();
    assert!(!waiting.contains(&card.pid));
    card.started();
    until("the pool is full again", || Some(children(&launcher)).filter(|all| all.len() == POOL));
}

#[test]
fn a_refused_start_takes_no_process() {
    if !kvm() {
        return;
    }
    let (launcher, waiting) = filled(Guest::card());
    for _ in 0..3 * POOL {
        let (refused, _) = launcher.start(|start| start.wrapped_key = Some(vec![0; 100]));
        assert!(matches!(refused, Reply::Refused { reason: Refusal::WrappedKey, .. }), "{refused:?}");
    }
    assert_eq!(children(&launcher), waiting);
    assert!(waiting.contains(&launcher.card().started().pid));
    let none = Launcher::new(Guest::card());
    let (refused, _) = none.start(|start| start.wrapped_key = Some(vec![0; 100]));
    assert!(matches!(refused, Reply::Refused { .. }), "{refused:?}");
    until("nothing waits without a pool", || children(&none).is_empty().then_some(()));
}

#[test]
fn the_launchers_end_ends_what_waits() {
    if !kvm() {
        return;
    }
    let (launcher, waiting) = filled(Guest::card());
    assert!(launcher.close());
    for pid in waiting {
        until("it is gone", || has_ended(pid).then_some(()));
    }
}
