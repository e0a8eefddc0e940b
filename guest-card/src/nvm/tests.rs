use alloc::{vec, vec::Vec};
use std::collections::BTreeMap;

use cardhost_wire::control::{Commit, Refusal, SealedRecord};
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::testing::{Host, launch, sealing_rng};

fn name(number: u16) -> RecordName {
    Partition::PIV.record(number)
}

fn key() -> SealKey {
    SealKey::from_launch(&launch())
}

/// Commits against a store that keeps what it is told to.
fn commit<C: Owner>(nvm: &mut Nvm, host: &mut Host, change: Change<C>) -> Result<(), Status> {
    let applied = nvm.apply(change)?;
    let (commit, head) = nvm.seal(&applied, &mut sealing_rng());
    match host.store(commit) {
        Ok(()) => nvm.confirm(head),
        Err(_) => nvm.revert(applied),
    }
    Ok(())
}

fn reopened(host: &Host) -> Result<Nvm, Refusal> {
    open(host.head.as_deref().unwrap(), &host.records())
}

fn open(head: &[u8], records: &[SealedRecord]) -> Result<Nvm, Refusal> {
    let mut state = SealedState::default();
    state.extend(records.to_vec())?;
    Nvm::open(key(), head, state)
}

fn filled() -> (Nvm, Host) {
    let (mut nvm, mut host) = (Nvm::blank(key()), Host::default());
    for number in 0..3 {
        commit(&mut nvm, &mut host, Change::new().put(name(number), vec![number as u8; 20])).unwrap();
    }
    (nvm, host)
}

#[test]
fn an_old_record_is_refused() {
    let (mut nvm, mut host) = filled();
    let old = host.records();
    commit(&mut nvm, &mut host, Change::new().put(name(1), vec![9])).unwrap();
    host.replace(&old[1]);
    assert_eq!(reopened(&host).err(), Some(Refusal::Inconsistent));
}

#[test]
fn a_missing_record_is_refused() {
    let (_, host) = filled();
    let records = host.records();
    let opened = open(host.head.as_deref().unwrap(), &records[1..]);
    assert_eq!(opened.err(), Some(Refusal::Inconsistent));
}

#[test]
fn a_doubled_record_is_refused() {
    let (_, host) = filled();
    let mut records = host.records();
    records[0] = records[1].clone();
    let opened = open(host.head.as_deref().unwrap(), &records);
    assert_eq!(opened.err(), Some(Refusal::Inconsistent));
}

#[test]
fn another_cards_state_is_refused() {
    let (_, host) = filled();
    let mut other = launch();
    other.card[0] ^= 1;
    let (key, state) = (SealKey::from_launch(&other), SealedState::default());
    let opened = Nvm::open(key, host.head.as_deref().unwrap(), state);
    assert_eq!(opened.err(), Some(Refusal::NotAuthentic));
}

#[test]
fn every_flipped_bit_is_refused() {
    let (_, host) = filled();
    let (head, records) = (host.head.clone().unwrap(), host.records());
    for bit in 0..head.len() * 8 {
        let mut bad = head.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&bad, &records).is_err());
    }
}

#[test]
fn a_card_has_bounded_room() {
    let (mut nvm, mut host) = filled();
    let long = vec![0; MAX_RECORD + 1];
    let refused = commit(&mut nvm, &mut host, Change::new().put(name(1), long));
    assert_eq!(refused, Err(Status::NOT_ENOUGH_MEMORY));
    let many = (0..=MAX_RECORDS as u16).fold(Change::new(), |change, n| change.put(name(n), vec![1]));
    assert_eq!(commit(&mut nvm, &mut host, many), Err(Status::NOT_ENOUGH_MEMORY));
    let longest = |n| vec![n as u8; MAX_RECORD];
    let large = (0..=(MAX_BYTES / MAX_RECORD) as u16)
        .fold(Change::new(), |change, n| change.put(name(n), longest(n)));
    assert_eq!(commit(&mut nvm, &mut host, large), Err(Status::NOT_ENOUGH_MEMORY));
    assert_eq!(nvm.part().read(name(1)), Some(&[1; 20][..]));
}

#[test]
fn what_applications_fill_leaves_room_for_the_card_os() {
    let (mut nvm, mut host) = (Nvm::blank(key()), Host::default());
    let longest = vec![7; MAX_RECORD];
    let filled = (0..).take_while(|&n| {
        let change = Change::new().put(name(n), longest.clone());
        commit(&mut nvm, &mut host, change) == Ok(())
    });
    let filled = filled.count() as u16;
    let rest = MAX_BYTES - LAST_BYTES - usize::from(filled) * MAX_RECORD;
    commit(&mut nvm, &mut host, Change::new().put(name(filled), vec![7; rest])).unwrap();
    let more = Change::new().put(name(filled + 1), vec![7]);
    assert_eq!(commit(&mut nvm, &mut host, more), Err(Status::NOT_ENOUGH_MEMORY));
    let own = Partition::CARD.record(9);
    commit(&mut nvm, &mut host, Change::new().put(own, vec![7; 8 * 1024])).unwrap();
    commit(&mut nvm, &mut host, Change::new().put(name(0), vec![8; MAX_RECORD])).unwrap();
    commit(&mut nvm, &mut host, Change::new().delete(name(1))).unwrap();
    assert_eq!(reopened(&host).unwrap().part().read(own).map(<[u8]>::len), Some(8 * 1024));
}

/// A state that version 1 wrote must open for ever.
#[test]
fn the_frozen_state_of_version_1_opens() {
    let fixture = include_bytes!("../../fixtures/state-v1.bin");
    let commit: Commit = postcard::from_bytes(fixture).unwrap();
    let nvm = open(&commit.head, &commit.put).unwrap();
    assert_eq!(nvm.epoch(), 1);
    assert_eq!(nvm.part().read(name(1)), Some(&b"one"[..]));
    assert_eq!(nvm.part().read(Partition::CARD.record(2)), Some(&b"two"[..]));
}

#[derive(Clone, Debug)]
struct Step {
    changes: Vec<(u16, Option<Vec<u8>>)>,
    stored: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
    let step = (prop::collection::vec((0..6u16, bytes), 1..4), any::<bool>())
        .prop_map(|(changes, stored)| Step { changes, stored });
    prop::collection::vec(step, 1..12)
}

proptest! {
    #[test]
    fn memory_and_store_follow_the_model(steps in steps()) {
        let (mut nvm, mut host) = (Nvm::blank(key()), Host::default());
        let mut model: BTreeMap<u16, Vec<u8>> = BTreeMap::new();
        for step in steps {
            let change = step.changes.iter().fold(Change::new(), |change, (number, bytes)| match bytes {
                Some(bytes) => change.put(name(*number), Zeroizing::new(bytes.clone())),
                None => change.delete(name(*number)),
            });
            host.failing = !step.stored;
            commit(&mut nvm, &mut host, change).unwrap();
            if step.stored {
                for (number, bytes) in step.changes {
                    match bytes {
                        Some(bytes) => model.insert(number, bytes),
                        None => model.remove(&number),
                    };
                }
            }
            let memory: BTreeMap<u16, Vec<u8>> = nvm
                .part()
                .names(Partition::PIV)
                .map(|name| (name.number(), nvm.part().read(name).unwrap().to_vec()))
                .collect();
            prop_assert_eq!(&memory, &model);
            if host.head.is_some() {
                let again = reopened(&host).unwrap();
                prop_assert_eq!(again.epoch(), nvm.epoch());
                for (number, bytes) in &model {
                    prop_assert_eq!(again.part().read(name(*number)), Some(&bytes[..]));
                }
            }
        }
    }
}

#[test]
fn a_record_of_an_unknown_format_is_named_so() {
    let (_, host) = filled();
    let mut records: Vec<SealedRecord> = host.records();
    records[0].sealed[0] = 2;
    let opened = open(host.head.as_deref().unwrap(), &records);
    assert_eq!(opened.err(), Some(Refusal::UnknownFormat));
}
