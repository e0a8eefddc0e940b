//! The two guests of `guest-card/boot`, built once for these tests.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use sha2::{Digest, Sha256};

/// CPU time for an exchange of guests that have an end.
pub const GENEROUS_MS: u32 = 10_000;
/// The same for those that may have none.
pub const SCANTY_MS: u32 = 200;

/// A guest image.
#[derive(Clone)]
pub struct Guest {
    pub elf: Vec<u8>,
    pub measurement: [u8; 32],
    pub budget_ms: u32,
}

impl Guest {
    /// The card.
    pub fn card() -> &'static Self {
        static CARD: OnceLock<Guest> = OnceLock::new();
        CARD.get_or_init(|| Self::read("card"))
    }

    /// The guest that turns on its host when told to.
    pub fn hostile() -> &'static Self {
        static HOSTILE: OnceLock<Guest> = OnceLock::new();
        HOSTILE.get_or_init(|| Self { budget_ms: SCANTY_MS, ..Self::read("hostile") })
    }

    fn read(name: &str) -> Self {
        Self::from_elf(fs::read(built().join(name)).expect("cargo has built it"))
    }

    pub fn from_elf(elf: Vec<u8>) -> Self {
        Self { measurement: Sha256::digest(&elf).into(), elf, budget_ms: GENEROUS_MS }
    }
}

/// The folder of the built guests.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-card/boot");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        for flags in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
            cargo.env_remove(flags);
        }
        cargo.args(["build", "--release", "--locked", "--bins", "--target-dir"]).arg(&target);
        assert!(cargo.current_dir(folder).status().expect("cargo runs").success());
        target.join("x86_64-unknown-linux-gnu/release")
    })
}
