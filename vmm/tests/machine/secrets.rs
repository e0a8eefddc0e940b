//! Where keys stand in memory, and where they do not. Only root can look.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
};

use cardhost_vmm::launcher::{
    card_key::{self, Holder, Key},
    host_keys::HostKeys,
};
use cardhost_wire::{launch::Isolation, wrapping::Bucket};

use crate::{
    card::Card,
    guest::Guest,
    launcher::{Launcher, kvm},
    pool,
    process::guest_of,
};

/// A readable part of a process's memory.
struct Mapping {
    name: String,
    contents: Vec<u8>,
}

fn memory(pid: u32) -> Vec<Mapping> {
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    maps.lines().filter_map(|line| mapping(&memory, line)).collect()
}

/// None for what the kernel itself maps.
fn mapping(memory: &File, line: &str) -> Option<Mapping> {
    let (range, rest) = line.split_once(' ').unwrap();
    let (start, end) = range.split_once('-').unwrap();
    let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
    let mut contents = vec![0; (end - start) as usize];
    memory.read_exact_at(&mut contents, start).ok()?;
    Some(Mapping { name: rest.to_owned(), contents })
}

/// The mappings that hold the key.
fn holders<'a>(memory: &'a [Mapping], key: &Key) -> Vec<&'a str> {
    let holds = |mapping: &&Mapping| mapping.contents.windows(key.len()).any(|window| window == key);
    memory.iter().filter(holds).map(|mapping| mapping.name.as_str()).collect()
}

#[test]
fn keys_stand_only_where_they_are_used() {
    if !kvm() || !nix::unistd::geteuid().is_root() {
        return;
    }
    look(&Launcher::new(Guest::card()), "card-template", |card| vec![card.pid]);
}

#[test]
fn keys_stand_only_where_they_are_used_by_cards_that_waited() {
    if !kvm() || !nix::unistd::geteuid().is_root() {
        return;
    }
    look(&pool::filled(Guest::card()).0, "card-template", |card| vec![card.pid]);
}

/// Neither do a guest process and its tender hold any, but in the guest's memory.
#[test]
fn keys_stand_only_where_they_are_used_by_processes() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let launcher = Launcher::isolating(Isolation::Process, Guest::card());
    look(&launcher, "card-memory", |card| vec![card.pid, guest_of(card)]);
}

/// Looks for keys in the launcher and in all processes of two cards, with guest memory by its name in proc(5) maps.
fn look(launcher: &Launcher, guest_memory: &str, processes: impl Fn(&Card) -> Vec<u32>) {
    // The launcher has the file's folder for itself.
    let folder = tempfile::tempdir().unwrap();
    fs::copy(launcher.host_key(), folder.path().join("host.key")).unwrap();
    let keys = HostKeys::open(&folder.path().join("host.key")).unwrap();
    let first = launcher.card().started();
    // A second start opens the wrapped key, where the first one made it.
    let again = launcher.card_with(|start| start.wrapped_key = Some(first.wrapped_key.clone())).started();
    let holder = Holder { card: &[7; 16], owner: &[8; 32] };
    let mut card_key = [0; 32];
    card_key::unwrap(&keys, holder, [0; 32], &first.wrapped_key, &mut card_key).unwrap();
    let wrapping: Vec<Key> = [7, 8].map(|bucket| *keys.present(Bucket(bucket)).unwrap().1).into();

    let in_launcher = memory(launcher.process.id());
    for key in &wrapping {
        assert_eq!(holders(&in_launcher, key).len(), 1, "{:?}", holders(&in_launcher, key));
    }
    assert_eq!(holders(&in_launcher, &card_key), [""; 0]);
    for process in [&first, &again].into_iter().flat_map(processes) {
        let in_card = memory(process);
        for key in &wrapping {
            assert_eq!(holders(&in_card, key), [""; 0]);
        }
        let outside: Vec<_> =
            holders(&in_card, &card_key).into_iter().filter(|name| !name.contains(guest_memory)).collect();
        assert_eq!(outside, [""; 0]);
    }
}
