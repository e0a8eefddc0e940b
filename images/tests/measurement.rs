//! What is promised of the images themselves.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};

/// Largest guest image, bytes.
const LARGEST_GUEST: usize = 3 << 19;
const PT_LOAD: u32 = 1;
const WRITE_AND_EXECUTE: u32 = 3;

#[test]
fn the_measurements_are_those_of_the_embedded_bytes() {
    assert_eq!(Sha256::digest(cardhost_image::GUEST)[..], cardhost_image::GUEST_SHA256);
    assert_eq!(Sha256::digest(cardhost_image::VMM)[..], cardhost_image::VMM_SHA256);
}

#[test]
fn the_guest_stays_small() {
    assert!(cardhost_image::GUEST.len() <= LARGEST_GUEST, "{} bytes", cardhost_image::GUEST.len());
}

#[test]
fn no_segment_is_writable_and_executable_and_none_shares_a_page() {
    let segments: Vec<Segment> = segments(cardhost_image::GUEST).collect();
    assert_eq!(segments.iter().map(|segment| segment.flags).collect::<Vec<_>>(), [6, 6, 5, 4]);
    assert!(segments.iter().all(|segment| segment.flags & WRITE_AND_EXECUTE != WRITE_AND_EXECUTE));
    assert!(segments.iter().all(|segment| segment.address % 4096 == 0));
    assert!(segments.windows(2).all(|pair| pair[0].address + pair[0].length <= pair[1].address));
}

/// Two more builds of the guest, from other folders and with another CARGO_HOME: minutes, so only when asked for.
#[test]
fn the_measurement_depends_on_the_sources_alone() {
    if std::env::var_os("CARDHOST_TESTS_LONG").is_none() {
        eprintln!("not run: builds the guest twice; set CARDHOST_TESTS_LONG=1");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let home = scratch.path().join("another cargo home");
    copy_registry(&home);
    let first = build(&scratch.path().join("a folder"), None);
    let second = build(&scratch.path().join("another folder/deeper"), Some(&home));
    assert_eq!(first, second);
    assert_eq!(first, cardhost_image::GUEST_SHA256);
}

/// Builds the image crate of a copy of this repository at `folder`; the guest's measurement.
fn build(folder: &Path, cargo_home: Option<&Path>) -> [u8; 32] {
    fs::create_dir_all(folder).unwrap();
    for part in ["Cargo.toml", "Cargo.lock", "wire", "vmm", "guest-card", "images", "control-api"] {
        copy(&repository().join(part), folder);
    }
    for part in ["terminal", "authority", "benches", "tests"] {
        copy(&repository().join(part), folder);
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(folder).args(["build", "--release", "--locked", "--package", "cardhost-image"]);
    cargo.env("CARGO_TARGET_DIR", folder.join("target"));
    if let Some(home) = cargo_home {
        cargo.env("CARGO_HOME", home);
    }
    assert!(cargo.status().unwrap().success());
    measurement(&folder.join("target/release/build"))
}

fn measurement(builds: &Path) -> [u8; 32] {
    let digest = fs::read_dir(builds)
        .unwrap()
        .map(|entry| entry.unwrap().path().join("out/guest.sha256"))
        .find(|path| path.exists())
        .expect("the build script's output");
    fs::read(digest).unwrap().try_into().unwrap()
}

/// The registry's crates under another path, so that the second build downloads nothing.
fn copy_registry(home: &Path) {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let ours = cargo_home.unwrap_or_else(|| std::env::home_dir().unwrap().join(".cargo"));
    fs::create_dir_all(home).unwrap();
    copy(&ours.join("registry"), home);
}

fn copy(from: &Path, into: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(into).status().unwrap();
    assert!(status.success(), "cp {}", from.display());
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

struct Segment {
    flags: u32,
    address: u64,
    length: u64,
}

/// The loadable segments of a little-endian ELF64 file.
fn segments(elf: &[u8]) -> impl Iterator<Item = Segment> {
    let half = |at: usize| usize::from(u16::from_le_bytes(elf[at..at + 2].try_into().unwrap()));
    let word = |at: usize| u32::from_le_bytes(elf[at..at + 4].try_into().unwrap());
    let long = |at: usize| u64::from_le_bytes(elf[at..at + 8].try_into().unwrap());
    let (table, size, count) = (long(32) as usize, half(54), half(56));
    (0..count)
        .map(move |index| table + index * size)
        .filter(move |at| word(*at) == PT_LOAD)
        .map(move |at| Segment { flags: word(at + 4), address: long(at + 16), length: long(at + 40) })
}
