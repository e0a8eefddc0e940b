//! Cards as processes: the same guest, link and launcher, without `/dev/kvm`.

use std::{
    fs,
    time::{Duration, Instant},
};

use cardhost_wire::{
    boot::{DATA_BASE, HEAP_END, MEMORY_SIZE, STACK_SIZE, STACK_TOP},
    control::GuestMessage,
    launch::Isolation,
    link::{Crash, CrashCause, Kind},
    port::Port,
};

use crate::{
    card::{Card, GATE},
    guest::{Guest, SCANTY_MS},
    launcher::{LIMIT_SECONDS, Launcher},
};

/// SELECT of the PIV application by its shortest name.
const SELECT_PIV: [u8; 10] = [0x00, 0xA4, 0x04, 0x00, 0x05, 0xA0, 0x00, 0x00, 0x03, 0x08];
const EXCHANGES: u64 = 100;
const CRASHED: (Option<i32>, Option<i32>) = (Some(3), None);
const USER_READ: u32 = 4;

fn launcher(guest: &Guest) -> Launcher {
    Launcher::isolating(Isolation::Process, guest)
}

/// The guest process of a card's process.
pub fn guest_of(card: &Card) -> u32 {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", card.pid)).unwrap();
    children.trim().parse().expect("one child")
}

#[test]
fn a_card_starts_answers_and_tells_of_itself() {
    let launcher = launcher(Guest::card());
    let mut card = launcher.card();
    let GuestMessage::Started(started) = card.start() else { panic!("a new card starts") };
    assert_eq!(started.epoch, 0);
    card.link.open(GATE);
    assert!(card.apdu(&SELECT_PIV).ends_with(&[0x90, 0x00]));
    let statistics = card.link.statistics();
    assert!((10..1024).contains(&statistics.resident_pages), "{statistics:?}");
    assert!(statistics.cpu_us > 0);
    assert_eq!(card.link.statistics().exits, statistics.exits);
}

#[test]
fn an_exchange_is_exactly_one_exit() {
    let launcher = launcher(Guest::card());
    let mut card = launcher.card().started();
    card.apdu(&SELECT_PIV);
    let before = card.link.statistics().exits;
    for _ in 0..EXCHANGES {
        card.apdu(&SELECT_PIV);
    }
    assert_eq!(card.link.statistics().exits - before, EXCHANGES);
}

/// Far more than one packet, both ways.
#[test]
fn a_longest_command_is_answered() {
    let launcher = launcher(Guest::card());
    let mut card = launcher.card().started();
    let data = vec![0x5A; 65_535];
    let command = [&[0x00, 0xEE, 0, 0, 0, 0xFF, 0xFF], &data[..], &[0, 0]].concat();
    assert_eq!(card.apdu(&command).len(), 2);
    assert!(card.apdu(&SELECT_PIV).ends_with(&[0x90, 0x00]));
}

fn command(act: u8, parameter: u8) -> [u8; 4] {
    [0x80, act, parameter, 0]
}

/// Does one act in a card of its own.
fn crash(launcher: &Launcher, act: u8, parameter: u8) -> Crash {
    let mut card = launcher.card().started();
    let crash = card.crash(&command(act, parameter));
    assert_eq!(launcher.ended(card.instance), CRASHED, "{crash:?}");
    crash
}

#[test]
fn a_system_call_ends_the_card() {
    let launcher = launcher(Guest::hostile());
    let mut neighbour = launcher.card().started();
    let crash = crash(&launcher, 0x02, 0);
    let CrashCause::UnexpectedExit(what) = &crash.cause else { panic!("{crash:?}") };
    assert!(what.starts_with("system call"), "{what}");
    assert!(!crash.symbol.is_empty(), "{crash:?}");
    assert_eq!(neighbour.apdu(&command(0, 0)).len(), 4);
}

#[test]
fn privileged_instructions_end_the_card() {
    let launcher = launcher(Guest::hostile());
    for (act, expected) in [
        (0x01, 13), // hlt
        (0x03, 13), // mov cr3
        (0x04, 13), // wrmsr
        (0x05, 13), // out
        (0x06, 3),  // int3
        (0x07, 6),  // ud2
        (0x13, 0),  // division by zero
    ] {
        let crash = crash(&launcher, act, 0);
        let CrashCause::Exception { vector, .. } = crash.cause else { panic!("{crash:?}") };
        assert_eq!(vector, Some(expected), "{crash:?}");
        assert!((DATA_BASE..MEMORY_SIZE).contains(&crash.rip) && !crash.symbol.is_empty(), "{crash:?}");
    }
}

#[test]
fn forbidden_memory_ends_the_card() {
    let launcher = launcher(Guest::hostile());
    let guard = STACK_TOP - STACK_SIZE - 4096..STACK_TOP - STACK_SIZE;
    for (act, addresses, present) in [
        (0x08, HEAP_END..MEMORY_SIZE, 1),        // write to text
        (0x09, DATA_BASE..HEAP_END, 1),          // execute data
        (0x0A, 0..1, 0),                         // null
        (0x0B, guard, 0),                        // stack overflow
        (0x0E, 0x1000..0x1001, 0),               // where a microVM has its page tables
        (0x0F, MEMORY_SIZE..MEMORY_SIZE + 1, 0), // behind the end
    ] {
        let crash = crash(&launcher, act, 0);
        let CrashCause::Exception { vector: Some(14), error_code, address } = crash.cause else {
            panic!("{crash:?}")
        };
        assert_eq!(error_code, USER_READ | present, "{crash:x?}");
        assert!(addresses.contains(&address), "{crash:x?}");
    }
}

#[test]
fn a_panic_is_told_before_the_end() {
    let launcher = launcher(Guest::hostile());
    let mut card = launcher.card().started();
    card.link.message(GATE, &command(0x0D, 0));
    let GuestMessage::Panic(text) = GuestMessage::decode(&card.link.next_message(Port::Control)).unwrap()
    else {
        panic!("the guest says that it panicked")
    };
    assert!(text.contains("a hostile guest panics"), "{text}");
}

/// A loop, accesses to the device without end, answers without end.
#[test]
fn a_runaway_is_stopped_within_its_budget() {
    let launcher = launcher(Guest::hostile());
    for act in [0x0C, 0x12, 0x11] {
        let crash = crash(&launcher, act, 0);
        assert_eq!(crash.cause, CrashCause::Runaway { budget_ms: SCANTY_MS }, "{act:#x}");
        // Only the loop is certain to be in a function of its own when its time is over.
        assert!(act != 0x0C || !crash.symbol.is_empty(), "{crash:?}");
    }
}

#[test]
fn broken_queues_end_the_card() {
    let launcher = launcher(Guest::hostile());
    for kind in 0..12 {
        let crash = crash(&launcher, 0x10, kind);
        // An unused queue is not yet a violation; then the guest ends itself.
        let ended_itself = matches!(crash.cause, CrashCause::Exception { .. }) && [10, 11].contains(&kind);
        assert!(matches!(crash.cause, CrashCause::Protocol(_)) || ended_itself, "{kind} {crash:?}");
    }
}

/// Whoever sends a signal to a guest ends it; it is not mistaken for a fault.
#[test]
fn a_signal_from_elsewhere_ends_the_card() {
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let launcher = launcher(Guest::card());
    for signal in [Signal::SIGSEGV, Signal::SIGTERM, Signal::SIGKILL] {
        let mut card = launcher.card().started();
        kill(Pid::from_raw(guest_of(&card) as i32), signal).unwrap();
        card.link.message(GATE, &SELECT_PIV);
        let crash = card.link.crash();
        assert_eq!(crash.cause, CrashCause::UnexpectedExit(signal.to_string()));
        assert_eq!(launcher.ended(card.instance), CRASHED);
    }
}

/// The guest has its own pages, each either writable or executable, and one page of the tender's; no descriptor, no
/// privilege, no system call.
#[test]
fn a_guest_process_has_nothing_but_its_pages() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let launcher = launcher(Guest::card());
    let card = launcher.card().started();
    let guest = guest_of(&card);
    let read = |name: &str| fs::read_to_string(format!("/proc/{guest}/{name}")).unwrap();
    for line in read("maps").lines().filter(|line| !line.contains("[v")) {
        let (range, rest) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        let is_guests = start >= STACK_TOP - STACK_SIZE && end <= MEMORY_SIZE;
        assert!(is_guests || start == 1 << 32 && end - start == 4096, "{line}");
        assert!(!(rest.contains('w') && rest.split(' ').next().unwrap().contains('x')), "{line}");
    }
    assert_eq!(fs::read_dir(format!("/proc/{guest}/fd")).unwrap().count(), 0);
    let status = read("status");
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
    for set in ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"] {
        assert_eq!(line(set), "0000000000000000", "{set}");
    }
    assert_eq!((line("NoNewPrivs:"), line("Seccomp:"), line("Seccomp_filters:")), ("1", "2", "1"));
    assert_eq!(line("TracerPid:"), card.pid.to_string());
}

/// Its link, standard error, its guest's memory and the template.
#[test]
fn a_tender_holds_few_descriptors() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let launcher = launcher(Guest::card());
    let card = launcher.card().started();
    let entries = fs::read_dir(format!("/proc/{}/fd", card.pid)).unwrap();
    let mut held: Vec<_> = entries
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name() != "2")
        .map(|entry| fs::read_link(entry.path()).unwrap().to_string_lossy().into_owned())
        .map(|target| if target.starts_with("socket:") { "link".into() } else { target })
        .collect();
    held.sort();
    assert_eq!(held, ["/memfd:card-memory (deleted)", "/memfd:card-template (deleted)", "link"]);
}

/// The link ends with the card's process; the guest's with it is the kernel's promise, and seen in its absence.
#[test]
fn no_guest_outlives_its_tender_or_the_launcher() {
    let mut launcher = launcher(Guest::card());
    let mut cards = [launcher.card().started(), launcher.card().started()];
    let guests = cards.each_ref().map(guest_of);
    launcher.kill(cards[0].instance);
    assert_eq!(launcher.ended(cards[0].instance), (None, Some(9)));
    assert!(cards[1].apdu(&SELECT_PIV).ends_with(&[0x90, 0x00]));
    launcher.process.kill().unwrap();
    launcher.process.wait().unwrap();
    assert_eq!(cards[1].link.receive(), None);
    guests.into_iter().for_each(wait_for_end);
}

/// Waits until the process is gone or a zombie that nobody reaps here.
pub fn wait_for_end(pid: u32) {
    let lives = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|state| !state.is_empty() && !state.starts_with(['Z', 'X']))
    };
    let limit = Instant::now() + Duration::from_secs(LIMIT_SECONDS as u64);
    while lives() {
        assert!(Instant::now() < limit, "process {pid} does not end");
        std::thread::yield_now();
    }
}

#[test]
fn a_closed_port_opens_again() {
    let launcher = launcher(Guest::card());
    let mut card = launcher.card().started();
    for _ in 0..10 {
        card.link.send(Kind::Close, GATE.number(), &[]);
        card.link.open(GATE);
        assert!(card.apdu(&SELECT_PIV).ends_with(&[0x90, 0x00]));
    }
}
