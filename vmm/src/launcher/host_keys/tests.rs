//! Wrapping keys through files, rotations and damage.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::PathBuf};

use super::*;

const ONE: Bucket = Bucket(1);
const TWO: Bucket = Bucket(2);

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("host.key");
    (folder, path)
}

fn write_private(path: &Path, content: &[u8]) {
    let _ = fs::remove_file(path);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(content).unwrap();
}

fn present(keys: &HostKeys, bucket: Bucket) -> (u32, Key) {
    let (name, key) = keys.present(bucket).unwrap();
    (name.generation, *key)
}

fn named(keys: &HostKeys, bucket: Bucket, generation: u32) -> Option<Key> {
    keys.find(WrappingKey { bucket, generation }).copied()
}

/// The same keys after another opening.
fn again(keys: HostKeys, path: &Path) -> HostKeys {
    drop(keys);
    HostKeys::open(path).unwrap()
}

#[test]
fn keys_are_made_once_and_differ() {
    let (folder, path) = folder();
    let keys = HostKeys::open(&path).unwrap();
    let made: Vec<_> = Bucket::all().map(|bucket| present(&keys, bucket)).collect();
    let mut distinct: Vec<_> = made.iter().map(|(_, key)| *key).collect();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), BUCKETS);
    let keys = again(keys, &path);
    assert_eq!(Bucket::all().map(|bucket| present(&keys, bucket)).collect::<Vec<_>>(), made);
    assert_eq!((keys.under_way(), keys.present(Bucket::VERSION_1).is_none()), (vec![], true));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_rotation_keeps_the_earlier_key_until_it_is_retired() {
    let (_folder, path) = folder();
    let mut keys = HostKeys::open(&path).unwrap();
    let (earlier, other) = (present(&keys, ONE), present(&keys, TWO));
    keys.rotate(&[ONE]).unwrap();
    let later = present(&keys, ONE);
    assert_eq!(later.0, earlier.0 + 1);
    assert_ne!(later.1, earlier.1);
    assert!(matches!(keys.rotate(&[TWO, ONE]), Err(ChangeError::UnderWay(ONE))));

    let mut keys = again(keys, &path);
    assert_eq!(keys.under_way(), [ONE]);
    assert_eq!(named(&keys, ONE, earlier.0), Some(earlier.1));
    assert_eq!((present(&keys, ONE), present(&keys, TWO)), (later, other));
    keys.retire(&[ONE]).unwrap();
    for keys in [&keys, &copy(&keys, &path)] {
        assert_eq!((keys.under_way(), named(keys, ONE, earlier.0)), (vec![], None));
        assert_eq!((present(keys, ONE), named(keys, ONE, 0)), (later, None));
    }
    let bytes = fs::read(&path).unwrap();
    assert!(!bytes.windows(32).any(|window| window == earlier.1));
}

/// Another opening of the same bytes, in a folder of its own.
fn copy(keys: &HostKeys, path: &Path) -> HostKeys {
    let beside = path.with_extension("copy");
    fs::create_dir(&beside).unwrap();
    write_private(&beside.join("host.key"), &keys.pages);
    HostKeys::open(&beside.join("host.key")).unwrap()
}

#[test]
fn a_key_of_version_1_stays_until_it_is_retired() {
    let (_folder, path) = folder();
    write_private(&path, &[9; LENGTH_1]);
    let mut keys = again(HostKeys::open(&path).unwrap(), &path);
    assert_eq!(keys.under_way(), [Bucket::VERSION_1]);
    assert_eq!(named(&keys, Bucket::VERSION_1, 0), Some([9; 32]));
    assert!(matches!(keys.rotate(&[Bucket::VERSION_1]), Err(ChangeError::NoSuchBucket(_))));
    keys.retire(&[Bucket::VERSION_1]).unwrap();
    let keys = again(keys, &path);
    assert_eq!((keys.under_way(), named(&keys, Bucket::VERSION_1, 0)), (vec![], None));
}

/// What version 2 wrote must open for ever.
#[test]
fn the_frozen_file_of_version_2_opens() {
    let (_folder, path) = folder();
    write_private(&path, include_bytes!("../../../fixtures/host-key-v2.bin"));
    let keys = HostKeys::open(&path).unwrap();
    assert_eq!(keys.under_way(), [ONE, Bucket::VERSION_1]);
    assert_eq!(present(&keys, ONE), (7, [0x17; 32]));
    assert_eq!(named(&keys, ONE, 6), Some([0x16; 32]));
    assert_eq!(present(&keys, Bucket(255)), (1, [0xFF; 32]));
    assert_eq!(named(&keys, Bucket::VERSION_1, 0), Some([0x11; 32]));
}

#[test]
fn what_is_damaged_or_exposed_is_refused_and_kept() {
    let (_folder, path) = folder();
    drop(HostKeys::open(&path).unwrap());
    let whole = fs::read(&path).unwrap();
    let mut damaged: Vec<_> =
        [0, 17, 19, 25, 40, 70, HEADER, LENGTH - 1].map(|at| flipped(&whole, at)).into();
    damaged.extend([whole[..LENGTH - 1].to_vec(), vec![1; 5], vec![]]);
    for bytes in damaged {
        write_private(&path, &bytes);
        assert!(matches!(HostKeys::open(&path), Err(HostKeysError::Damaged { .. })), "{}", bytes.len());
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    fs::remove_file(&path).unwrap();
    File::options().write(true).create_new(true).mode(0o604).open(&path).unwrap().write_all(&whole).unwrap();
    assert!(matches!(HostKeys::open(&path), Err(HostKeysError::Exposed { .. })));
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut flipped = bytes.to_vec();
    flipped[at] ^= 1;
    flipped
}

#[test]
fn a_file_that_cannot_be_replaced_changes_no_key() {
    let (folder, path) = folder();
    let mut keys = HostKeys::open(&path).unwrap();
    let before = present(&keys, ONE);
    // A folder where the new file is to be: nobody can open that for writing.
    fs::create_dir(folder.path().join("host.key.new")).unwrap();
    assert!(matches!(keys.rotate(&[ONE]), Err(ChangeError::File(_))));
    assert_eq!((present(&keys, ONE), keys.under_way()), (before, vec![]));
    fs::remove_dir(folder.path().join("host.key.new")).unwrap();
    keys.rotate(&[ONE]).unwrap();
    assert_eq!(keys.under_way(), [ONE]);
}
