//! Builds the guest and the microVM program by nested cargo runs and measures them.
//!
//! Each has its own target directory, because the outer cargo holds the lock of its own while this runs, and an
//! environment free of the outer build's flags, so that the same sources give the same bytes in every build.

#[path = "build/nested.rs"]
mod nested;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use nested::Nested;
use sha2::{Digest, Sha256};

/// What the guest and the microVM program are made of, from the repository's root.
const SOURCES: [&str; 13] = [
    "Cargo.toml",
    "Cargo.lock",
    "wire/Cargo.toml",
    "wire/src",
    "guest-card/Cargo.toml",
    "guest-card/src",
    "guest-card/boot/Cargo.toml",
    "guest-card/boot/Cargo.lock",
    "guest-card/boot/build.rs",
    "guest-card/boot/link.ld",
    "guest-card/boot/src",
    "vmm/Cargo.toml",
    "vmm/src",
];

fn main() {
    let root =
        PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    for script in ["build.rs", "build"] {
        println!("cargo::rerun-if-changed={script}");
    }
    let out = PathBuf::from(variable("OUT_DIR"));
    let nested = Nested::new(&root, &out);
    embed(&nested.guest("card"), &out.join("guest"));
    if env::var_os("CARGO_FEATURE_HOSTILE").is_some() {
        embed(&nested.guest("hostile"), &out.join("hostile"));
    }
    embed(&nested.vmm(), &out.join("vmm"));
}

/// Copies a program to where `include_bytes!` finds it, with its SHA-256 beside it.
fn embed(program: &Path, to: &Path) {
    let bytes = fs::read(program).expect("the nested build made it");
    fs::write(to.with_extension("sha256"), Sha256::digest(&bytes)).expect("OUT_DIR is writable");
    fs::write(to, bytes).expect("OUT_DIR is writable");
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}
