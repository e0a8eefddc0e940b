//! The anchor's file against a model: cuts at every byte, damage, rewriting, writes that fail.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use super::{
    AnchorId, Anchored, ChainHash, History, Mark, SignedHead, StateDigest,
    file::{AnchorFile, Contents, FileError, MAX_EXPORTED, remember_exported},
    format::{self, CardEntry, MAX_CARDS, Record},
    writer::Anchor,
};
use crate::audit::SigningKey;

const ID: AnchorId = AnchorId([0xA5; 16]);
/// Longer than any test: only what is asked for is written.
const NEVER: Duration = Duration::from_secs(3600);

fn card(number: u64) -> [u8; 16] {
    // Spread as random ids are.
    (u128::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)).to_be_bytes()
}

fn at(epoch: u64) -> Anchored {
    Anchored::At { epoch, digest: StateDigest::of(Some(&epoch.to_be_bytes())) }
}

fn empty() -> Contents {
    Contents { cards: BTreeMap::new(), exported: [].into() }
}

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("anchor");
    (directory, path)
}

fn reopened(path: &Path) -> (Mark, Contents) {
    let (file, contents) = AnchorFile::open(path).unwrap().expect("a file");
    (file.mark(), contents)
}

/// Batches with their model: what the file says after each.
fn history(file: &mut AnchorFile, path: &Path) -> Vec<(u64, Mark, Contents)> {
    let mut model = empty();
    let mut states = vec![(length(path), file.mark(), model.clone())];
    for step in 1..=12_u64 {
        let changes: Vec<CardEntry> = match step % 4 {
            0 => vec![(card(step - 1), Anchored::Destroyed)],
            1 => vec![(card(step), at(step)), (card(1), at(step * 10))],
            _ => vec![(card(step), at(step))],
        };
        model.cards.extend(changes.iter().copied());
        let mark = file.append_batch(changes).unwrap();
        states.push((length(path), mark, model.clone()));
        if step % 5 == 0 {
            file.append_exported().unwrap();
            model.exported.push_back(mark);
            states.push((length(path), mark, model.clone()));
        }
    }
    states
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[test]
fn a_power_cut_at_every_byte_of_every_write_leaves_whole_batches() {
    let (_directory, path) = place();
    let mut file = AnchorFile::create(&path, ID, &empty()).unwrap();
    let states = history(&mut file, &path);
    drop(file);
    let bytes = fs::read(&path).unwrap();
    let begin = states[0].0;
    for cut in begin..=bytes.len() as u64 {
        fs::write(&path, &bytes[..cut as usize]).unwrap();
        let (_, mark, contents) = states.iter().rev().find(|(end, ..)| *end <= cut).unwrap();
        assert_eq!(reopened(&path), (*mark, contents.clone()), "cut at {cut}");
        // What is left goes on.
        let (mut file, _) = AnchorFile::open(&path).unwrap().unwrap();
        let next = file.append_batch(vec![(card(99), at(1))]).unwrap();
        drop(file);
        assert_eq!(reopened(&path).0, next, "cut at {cut}");
    }
}

#[test]
fn a_last_record_that_the_disk_wrote_in_part_is_cut_off() {
    let (_directory, path) = place();
    let mut file = AnchorFile::create(&path, ID, &empty()).unwrap();
    let states = history(&mut file, &path);
    drop(file);
    let bytes = fs::read(&path).unwrap();
    let (before, last) = (&states[states.len() - 2], &states[states.len() - 1]);
    for position in before.0..last.0 {
        let mut torn = bytes.clone();
        torn[position as usize] ^= 0x40;
        fs::write(&path, torn).unwrap();
        assert_eq!(reopened(&path), (before.1, before.2.clone()), "byte {position}");
    }
}

#[test]
fn what_no_power_cut_explains_is_damage() {
    let (_directory, path) = place();
    let cards: BTreeMap<_, _> = (0..20_000).map(|number| (card(number), at(number))).collect();
    let file = AnchorFile::create(&path, ID, &Contents { cards, ..empty() }).unwrap();
    drop(file);
    let bytes = fs::read(&path).unwrap();
    // The first file is put in its place whole: none of its bytes may be missing or changed.
    for at in (format::HEADER..bytes.len()).step_by(9973).chain([bytes.len() - 1]) {
        fs::write(&path, &bytes[..at]).unwrap();
        assert!(matches!(AnchorFile::open(&path), Err(FileError::Damaged { .. })), "cut at {at}");
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).unwrap();
        assert!(matches!(AnchorFile::open(&path), Err(FileError::Damaged { .. })), "byte {at}");
    }
    fs::write(&path, b"some other file, as long as a header at least").unwrap();
    assert!(matches!(AnchorFile::open(&path), Err(FileError::NotAnAnchor(_))));
    let mut later = bytes;
    later[19] = 2;
    fs::write(&path, later).unwrap();
    assert!(matches!(AnchorFile::open(&path), Err(FileError::Version { version: 2, .. })));
}

#[test]
fn records_out_of_their_order_are_damage() {
    let (_directory, path) = place();
    let first = Mark { sequence: 0, hash: format::first_hash(ID) };
    let checkpoint = Record::Checkpoint(first);
    let complete = Record::Complete { cards: 0, exported: 0 };
    let batch = |sequence| Record::Batch { sequence, time: 0, changes: vec![(card(1), at(1))] };
    let cards = Record::Cards(vec![(card(1), at(1))]);
    let orders = [
        vec![batch(1)],
        vec![checkpoint.clone(), batch(1)],
        vec![checkpoint.clone(), complete.clone(), batch(2)],
        vec![checkpoint.clone(), complete, cards],
        vec![checkpoint, Record::Complete { cards: 1, exported: 0 }],
    ];
    for records in orders {
        let (mut bytes, mut chain) = (format::header(ID), first.hash);
        for record in &records {
            let (encoded, next) = record.encode(chain);
            bytes.extend(encoded);
            chain = next;
        }
        fs::write(&path, bytes).unwrap();
        assert!(matches!(AnchorFile::open(&path), Err(FileError::Damaged { .. })), "{records:?}");
    }
}

#[test]
fn rewriting_keeps_content_and_chain_and_shortens_the_file() {
    let (_directory, path) = place();
    let mut file = AnchorFile::create(&path, ID, &empty()).unwrap();
    let mut model = empty();
    let mut exported = None;
    // The same cards again and again.
    for round in 1..=12 {
        let changes: Vec<_> = (0..MAX_CARDS as u64).map(|number| (card(number), at(round))).collect();
        model.cards.extend(changes.iter().copied());
        let mark = file.append_batch(changes).unwrap();
        if round == 3 {
            file.append_exported().unwrap();
            model.exported.push_back(mark);
            exported = Some(mark);
        }
    }
    assert!(file.is_long(model.cards.len(), 1));
    let (before, mark) = (length(&path), file.mark());
    // A power cut while the new file is written leaves the old one, whatever stands beside it.
    fs::write(path.with_extension("new"), b"half of").unwrap();
    let chunks: Vec<Vec<CardEntry>> =
        model.cards.iter().map(|(card, anchored)| (*card, *anchored)).map(|entry| vec![entry]).collect();
    file.rewrite(chunks.into_iter(), &model.exported).unwrap();
    assert!(length(&path) < before / 2);
    let next = file.append_batch(vec![(card(7), at(99))]).unwrap();
    assert_eq!(next.sequence, mark.sequence + 1);
    model.cards.insert(card(7), at(99));
    drop(file);
    assert_eq!(reopened(&path), (next, model));
    assert!(signed(exported.unwrap()).is_passed_by(&path).is_ok());
}

#[test]
fn one_process_at_a_time_has_the_file() {
    let (_directory, path) = place();
    let mut file = AnchorFile::create(&path, ID, &empty()).unwrap();
    assert!(matches!(AnchorFile::open(&path), Err(FileError::InUse(_))));
    file.rewrite(std::iter::empty(), &[].into()).unwrap();
    assert!(matches!(AnchorFile::open(&path), Err(FileError::InUse(_))));
    drop(file);
    reopened(&path);
}

#[test]
fn only_the_newest_exported_heads_are_remembered() {
    let mut exported = [].into();
    let mark = |sequence| Mark { sequence, hash: ChainHash([0; 32]) };
    (0..=MAX_EXPORTED as u64).for_each(|sequence| remember_exported(&mut exported, mark(sequence)));
    assert_eq!((exported.len(), exported[0]), (MAX_EXPORTED, mark(1)));
}

fn signed(mark: Mark) -> SignedHead {
    let directory = tempfile::tempdir().unwrap();
    SignedHead::sign(ID, mark, &SigningKey::open(&directory.path().join("key")).unwrap())
}

#[test]
fn an_exported_head_tells_older_and_other_histories() {
    use super::HeadFault::{Older, OtherAnchor, OtherHistory, Signature};
    let (_directory, path) = place();
    let mut file = AnchorFile::create(&path, ID, &empty()).unwrap();
    let states = history(&mut file, &path);
    drop(file);
    let last = states.last().unwrap().1;
    for (_, mark, _) in &states {
        assert_eq!(signed(*mark).is_passed_by(&path).unwrap(), last);
    }
    // Put back as it was after the third batch, and written on from there.
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..states[3].0 as usize]).unwrap();
    assert!(matches!(signed(last).is_passed_by(&path), Err(Older { found: 3, exported: 12 })));
    let (mut file, _) = AnchorFile::open(&path).unwrap().unwrap();
    for epoch in 4..=20 {
        file.append_batch(vec![(card(2), at(epoch))]).unwrap();
    }
    assert!(matches!(signed(last).is_passed_by(&path), Err(OtherHistory)));
    assert!(signed(states[3].1).is_passed_by(&path).is_ok());
    let head = signed(last);
    assert!(head.verify(&head.public_key).is_ok());
    let changed = SignedHead { sequence: head.sequence + 1, ..head.clone() };
    assert!(matches!(changed.verify(&head.public_key), Err(Signature)));
    let foreign = SignedHead { anchor: [0; 16], ..head };
    assert!(matches!(foreign.is_passed_by(&path), Err(OtherAnchor)));
}

fn start(path: &Path) -> Anchor {
    let (file, contents) = AnchorFile::open(path).unwrap().unwrap();
    Anchor::start(file, contents, NEVER).unwrap()
}

#[tokio::test]
async fn changes_of_one_card_are_one_change_and_a_record_s_worth_is_written_at_once() {
    let (_directory, path) = place();
    drop(AnchorFile::create(&path, ID, &empty()).unwrap());
    let anchor = start(&path);
    (1..=50).for_each(|epoch| anchor.note(card(1), at(epoch)));
    assert_eq!(anchor.anchored(&card(1)), Some(at(50)));
    assert_eq!(anchor.flush().await.unwrap().sequence, 1);
    assert_eq!(anchor.flush().await.unwrap().sequence, 1, "nothing changed");
    // Nobody asks and the interval is long: their number alone has them written.
    (0..MAX_CARDS as u64).for_each(|number| anchor.note(card(number), at(60)));
    while anchor.mark().sequence == 1 {
        tokio::task::yield_now().await;
    }
    let mark = anchor.close().await.unwrap();
    assert_eq!(mark.sequence, 2);
    let (_, contents) = reopened(&path);
    assert_eq!((contents.cards.len(), contents.cards[&card(1)]), (MAX_CARDS, at(60)));
}

#[tokio::test]
async fn a_batch_is_written_when_its_time_has_come() {
    let (_directory, path) = place();
    let file = AnchorFile::create(&path, ID, &empty()).unwrap();
    let anchor = Anchor::start(file, empty(), Duration::from_millis(1)).unwrap();
    anchor.note(card(1), at(1));
    while anchor.mark().sequence == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(History::read(&path, |_| {}).unwrap().contents.cards[&card(1)], at(1));
}

#[tokio::test]
async fn an_exported_head_is_durable_and_survives_rewriting() {
    let (_directory, path) = place();
    drop(AnchorFile::create(&path, ID, &empty()).unwrap());
    let anchor = start(&path);
    anchor.note(card(1), at(1));
    let exported = anchor.export().await.unwrap();
    assert_eq!(anchor.export().await.unwrap(), exported);
    assert_eq!(History::read(&path, |_| {}).unwrap().contents.exported, [exported]);
    // Enough to have the file written anew at least once.
    for round in 2..=14 {
        (0..MAX_CARDS as u64).for_each(|number| anchor.note(card(number), at(round)));
        anchor.flush().await.unwrap();
    }
    anchor.close().await.unwrap();
    assert!(length(&path) < 14 * (MAX_CARDS * format::CARD) as u64, "it was written anew");
    assert_eq!(reopened(&path).1.exported, [exported]);
    assert!(signed(exported).is_passed_by(&path).is_ok());
}

#[tokio::test]
async fn a_failed_write_loses_no_change_and_keeps_the_chain() {
    let (_directory, path) = place();
    let mut file = AnchorFile::create(&path, ID, &empty()).unwrap();
    let first = file.append_batch(vec![(card(1), at(1))]).unwrap();
    // From here on the descriptor takes no byte, as a full disk would not.
    file.break_descriptor(File::open(&path).unwrap());
    let contents = Contents { cards: [(card(1), at(1))].into(), ..empty() };
    let anchor = Anchor::start(file, contents, NEVER).unwrap();
    anchor.note(card(2), at(2));
    assert!(anchor.flush().await.is_err());
    assert_eq!((anchor.mark(), anchor.anchored(&card(2))), (first, Some(at(2))));
    let second = anchor.flush().await.unwrap();
    assert_eq!(second.sequence, 2);
    anchor.close().await.unwrap();
    let (mark, contents) = reopened(&path);
    assert_eq!((mark, contents.cards), (second, [(card(1), at(1)), (card(2), at(2))].into()));
}

/// Prints what a million cards cost: `cargo test --release -p cardhost anchor::tests::a_million -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn a_million_cards() {
    let resident = || -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let (_directory, path) = place();
    let cards = (0..1_000_000).map(|number| (card(number), at(number))).collect();
    drop(AnchorFile::create(&path, ID, &Contents { cards, ..empty() }).unwrap());
    let (before, began) = (resident(), std::time::Instant::now());
    let (_, contents) = AnchorFile::open(&path).unwrap().unwrap();
    let (opened, held) = (began.elapsed(), resident() - before);
    assert_eq!(contents.cards.len(), 1_000_000);
    println!("opened in {opened:?}, {held} KiB more resident, file {} KiB", length(&path) / 1024);
}

/// `fixtures/anchor-v1.bin` was written by the first version of the format and never changes.
#[test]
fn the_frozen_anchor_of_version_1_opens() {
    let frozen = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/anchor-v1.bin");
    if std::env::var_os("CARDHOST_FREEZE").is_some() {
        freeze(&frozen);
    }
    let (_directory, path) = place();
    fs::copy(frozen, &path).unwrap();
    let (mark, contents) = reopened(&path);
    let cards = [(card(1), at(130)), (card(2), at(2)), (card(3), Anchored::Destroyed)];
    assert_eq!((mark.sequence, contents.cards), (3, cards.into()));
    assert_eq!(contents.exported.iter().map(|mark| mark.sequence).collect::<Vec<_>>(), [1, 2]);
    assert!(signed(contents.exported[0]).is_passed_by(&path).is_ok());
}

/// Makes the fixture. Only before the first release that writes this format; from then on it stays as it is.
fn freeze(path: &Path) {
    let mut file = AnchorFile::create(path, ID, &empty()).unwrap();
    let first = file.append_batch(vec![(card(1), at(1)), (card(3), at(3))]).unwrap();
    file.append_exported().unwrap();
    let now: Vec<Vec<CardEntry>> = vec![vec![(card(1), at(1))], vec![(card(3), at(3))]];
    file.rewrite(now.into_iter(), &[first].into()).unwrap();
    file.append_batch(vec![(card(2), at(2)), (card(3), Anchored::Destroyed)]).unwrap();
    file.append_exported().unwrap();
    file.append_batch(vec![(card(1), at(130))]).unwrap();
}
