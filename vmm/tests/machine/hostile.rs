//! Every hostile act of a guest ends its own card, with a diagnosis, and nothing else.

use cardhost_wire::{
    boot::{DATA_BASE, MEMORY_SIZE, STACK_SIZE, STACK_TOP},
    control::GuestMessage,
    link::{Crash, CrashCause},
    port::Port,
};

use crate::{
    guest::{Guest, SCANTY_MS},
    launcher::{Launcher, kvm},
};

// Intel SDM volume 3, table 6-1.
const DIVIDE: u8 = 0;
const BREAKPOINT: u8 = 3;
const INVALID_OPCODE: u8 = 6;
const GENERAL_PROTECTION: u8 = 13;
const PAGE_FAULT: u8 = 14;

const CRASHED: (Option<i32>, Option<i32>) = (Some(3), None);

fn command(act: u8, parameter: u8) -> [u8; 4] {
    [0x80, act, parameter, 0]
}

/// Does one act in a card of its own while a neighbour runs.
fn crash(launcher: &Launcher, act: u8, parameter: u8) -> Crash {
    let mut card = launcher.card().started();
    let crash = card.crash(&command(act, parameter));
    assert_eq!(launcher.ended(card.instance), CRASHED, "{crash:?}");
    crash
}

/// Best effort: not every processor's KVM names the vector.
fn assert_exception(crash: &Crash, expected: u8) {
    match crash.cause {
        CrashCause::Exception { vector: None, .. } => {}
        CrashCause::Exception { vector: Some(vector), .. } => assert_eq!(vector, expected, "{crash:?}"),
        _ => panic!("{crash:?}"),
    }
}

fn page_fault(crash: &Crash) -> Option<u64> {
    assert_exception(crash, PAGE_FAULT);
    match crash.cause {
        CrashCause::Exception { vector: Some(_), address, .. } => Some(address),
        _ => None,
    }
}

#[test]
fn the_guest_runs_in_ring_3() {
    if !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::hostile());
    let mut card = launcher.card().started();
    let answer = card.apdu(&command(0, 0));
    assert_eq!(answer[1] & 3, 3, "CS is {answer:02x?}");
}

#[test]
fn privileged_instructions_end_the_card() {
    if !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::hostile());
    let mut neighbour = launcher.card().started();
    for (act, vector) in [
        (0x01, GENERAL_PROTECTION), // hlt
        (0x03, GENERAL_PROTECTION), // mov cr3
        (0x04, GENERAL_PROTECTION), // wrmsr
        (0x07, INVALID_OPCODE),     // ud2
        (0x13, DIVIDE),
    ] {
        let crash = crash(&launcher, act, 0);
        assert_exception(&crash, vector);
        assert!((DATA_BASE..MEMORY_SIZE).contains(&crash.rip), "{crash:?}");
        assert!(!crash.symbol.is_empty(), "{crash:?}");
        assert_eq!(neighbour.apdu(&command(0, 0)).len(), 4);
    }
}

/// What these end in depends on the processor and its KVM: there is no task state segment, no descriptor table and
/// no entry point to consult, or only an empty one.
#[test]
fn ways_out_of_ring_3_end_the_card() {
    if !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::hostile());
    for (act, vectors) in [
        (0x02, [INVALID_OPCODE, PAGE_FAULT]),     // syscall
        (0x05, [GENERAL_PROTECTION, PAGE_FAULT]), // out
        (0x06, [BREAKPOINT, GENERAL_PROTECTION]), // int3
    ] {
        let crash = crash(&launcher, act, 0);
        let CrashCause::Exception { vector, .. } = crash.cause else { panic!("{crash:?}") };
        assert!(vector.is_none_or(|vector| vectors.contains(&vector)), "{crash:?}");
    }
}

#[test]
fn forbidden_memory_ends_the_card() {
    if !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::hostile());
    let guard = STACK_TOP - STACK_SIZE - 4096..STACK_TOP - STACK_SIZE;
    for (act, addresses) in [
        (0x08, DATA_BASE..MEMORY_SIZE),       // write to text
        (0x09, DATA_BASE..MEMORY_SIZE),       // execute data
        (0x0A, 0..1),                         // null
        (0x0B, guard),                        // stack overflow
        (0x0E, 0x1000..0x1001),               // page tables
        (0x0F, MEMORY_SIZE..MEMORY_SIZE + 1), // behind the end
    ] {
        let crash = crash(&launcher, act, 0);
        if let Some(address) = page_fault(&crash) {
            assert!(addresses.contains(&address), "{crash:x?}");
        }
    }
}

#[test]
fn a_panic_is_told_before_the_end() {
    if !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::hostile());
    let mut card = launcher.card().started();
    card.link.message(crate::card::GATE, &command(0x0D, 0));
    let GuestMessage::Panic(text) = GuestMessage::decode(&card.link.next_message(Port::Control)).unwrap()
    else {
        panic!("the guest says that it panicked")
    };
    assert!(text.contains("a hostile guest panics"), "{text}");
    assert_exception(&card.link.crash(), INVALID_OPCODE);
}

#[test]
fn a_runaway_is_stopped_within_its_budget() {
    if !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::hostile());
    for act in [0x0C, 0x12] {
        let crash = crash(&launcher, act, 0);
        assert_eq!(crash.cause, CrashCause::Runaway { budget_ms: SCANTY_MS });
        assert!(!crash.symbol.is_empty(), "{crash:?}");
    }
}

#[test]
fn a_guest_that_talks_without_end_is_a_runaway() {
    if !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::hostile());
    assert_eq!(crash(&launcher, 0x11, 0).cause, CrashCause::Runaway { budget_ms: SCANTY_MS });
}

#[test]
fn broken_queues_end_the_card() {
    if !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::hostile());
    let mut neighbour = launcher.card().started();
    for kind in 0..12 {
        let crash = crash(&launcher, 0x10, kind);
        // An unused queue is not yet a violation; then the guest ends itself.
        let ended_itself = matches!(crash.cause, CrashCause::Exception { .. });
        let allowed = [10, 11].contains(&kind);
        assert!(
            matches!(crash.cause, CrashCause::Protocol(_)) || allowed && ended_itself,
            "{kind} {crash:?}"
        );
        assert_eq!(neighbour.apdu(&command(0, 0)).len(), 4);
    }
}
