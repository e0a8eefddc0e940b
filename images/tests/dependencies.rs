//! Who may use whom: the crates' dependency rules, as cargo resolves them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

type Names = BTreeSet<String>;

/// For each of our crates, which of our crates it may use; programs and tests beyond these rows may use anything.
const OURS: [(&str, &[&str]); 7] = [
    ("cardhost-wire", &[]),
    ("cardhost-guest", &["cardhost-wire"]),
    ("cardhost-vmm", &["cardhost-wire"]),
    ("cardhost-image", &[]),
    ("cardhost-authority", &["cardhost-wire"]),
    ("cardhost-terminal", &["cardhost-wire"]),
    ("cardhost", &["cardhost-wire", "cardhost-image", "cardhost-authority"]),
];

/// What a crate must not reach, however deep.
const NEVER: [(&str, &[&str]); 3] = [
    ("cardhost-wire", &["libc", "tokio", "getrandom"]),
    ("cardhost-guest", &["libc", "tokio", "getrandom", "kvm-ioctls"]),
    ("cardhost-vmm", &["tokio", "hyper", "axum", "rustls", "cardhost-guest"]),
];

#[test]
fn each_crate_uses_only_what_its_place_allows() {
    for (name, allowed) in OURS {
        let ours = used(&repository(), name, "1").into_iter().filter(|used| used.starts_with("cardhost"));
        for used in ours.filter(|used| used != name) {
            assert!(allowed.contains(&used.as_str()), "{name} must not use {used}");
        }
    }
}

#[test]
fn no_crate_reaches_what_it_must_never_hold() {
    for (name, forbidden) in NEVER {
        assert_lacks(name, &used(&repository(), name, "99"), forbidden);
    }
}

#[test]
fn the_bare_metal_guest_holds_no_other_source_of_randomness_and_no_libc() {
    let reached = used(&repository().join("guest-card/boot"), "cardhost-boot", "99");
    assert!(reached.contains("cardhost-guest"));
    assert_lacks("the guest image", &reached, &["getrandom", "libc", "tokio"]);
}

#[test]
fn the_guest_and_the_host_use_the_same_versions() {
    let host = locked(&repository().join("Cargo.lock"));
    let guest = locked(&repository().join("guest-card/boot/Cargo.lock"));
    for (name, versions) in &guest {
        if let Some(host) = host.get(name) {
            assert!(versions.is_subset(host), "{name}: guest {versions:?}, host {host:?}");
        }
    }
}

fn assert_lacks(name: &str, reached: &Names, forbidden: &[&str]) {
    for never in forbidden {
        assert!(!reached.contains(*never), "{name} reaches {never}");
    }
}

/// The crates that a package runs with, itself included, this many steps deep; its build and its tests left out.
fn used(workspace: &Path, package: &str, depth: &str) -> Names {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(workspace).args(["tree", "--locked", "--package", package, "--edges", "normal"]);
    cargo.args(["--target", "x86_64-unknown-linux-gnu", "--prefix", "none", "--depth", depth]);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().filter_map(|line| line.split(' ').next()).map(Into::into).collect()
}

/// Name and versions of every package from a registry in a lock file.
fn locked(lock: &Path) -> BTreeMap<String, Names> {
    let text = std::fs::read_to_string(lock).unwrap();
    let mut packages = BTreeMap::<String, Names>::new();
    for package in text.split("[[package]]").filter(|package| package.contains("\nsource = ")) {
        let field =
            |key| package.lines().find_map(|line: &str| line.strip_prefix(key)).unwrap().trim_matches('"');
        packages.entry(field("name = ").into()).or_default().insert(field("version = ").into());
    }
    packages
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}
