//! Nested cargo runs whose output does not depend on where they run.

use std::{
    env,
    ffi::OsString,
    fs::File,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Cargo hashes a path dependency's absolute path into its symbols where it lies outside of the workspace, as the
/// card OS does for `guest-card/boot`. Seen through this descriptor the path is the same in every folder.
const ROOT: i32 = 900;
/// Addresses are absolute. What crates mark for inlining is inlined though it is long: arithmetic modulo the curves'
/// primes, in which calls take an eighth of the time.
const GUEST_FLAGS: [&str; 2] = ["-Crelocation-model=static", "-Cllvm-args=-inlinehint-threshold=1200"];
/// Variables by which the outer build would change the inner one's output.
const CLEARED: [&str; 5] =
    ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTDOCFLAGS", "CARGO_INCREMENTAL"];
/// Prefixes of such variables.
const CLEARED_PREFIXES: [&str; 6] =
    ["CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_", "CARGO_ENCODED_", "CARGO_CFG_", "CARGO_FEATURE_"];

/// Builds of one repository into one place.
pub struct Nested {
    root: PathBuf,
    out: PathBuf,
    cargo_home: PathBuf,
    /// The repository's folder, inherited by the build as descriptor [`ROOT`].
    _root: OwnedFd,
}

impl Nested {
    /// Builds of the repository at `root`, with target directories in `out`.
    pub fn new(root: &Path, out: &Path) -> Self {
        let folder = File::open(root).expect("the repository is a folder");
        let inherited = fcntl_dupfd_cloexec(&folder, ROOT).expect("a descriptor");
        fcntl_setfd(&inherited, FdFlags::empty()).expect("cargo inherits it");
        assert_eq!(inherited.as_raw_fd(), ROOT, "descriptor {ROOT} is free in a build script");
        Self { root: root.into(), out: out.into(), cargo_home: cargo_home(), _root: inherited }
    }

    /// Builds one of the guests.
    pub fn guest(&self, name: &str) -> PathBuf {
        let target = self.out.join("target-guest");
        let mut cargo = self.cargo(&self.root.join("guest-card/boot"), &target, &GUEST_FLAGS);
        let manifest = format!("/proc/self/fd/{ROOT}/guest-card/boot/Cargo.toml");
        run(cargo.args(["--release", "--manifest-path", &manifest, "--bin", name]));
        target.join(TARGET).join("release").join(name)
    }

    /// Builds the microVM program, without shared libraries: an exchange would walk through page tables for each of them.
    /// There the crate `getrandom` finds its system call only if told to, and looks for a device that the launcher left behind.
    pub fn vmm(&self) -> PathBuf {
        let target = self.out.join("target-vmm");
        let flags = ["-Ctarget-feature=+crt-static", r#"--cfg=getrandom_backend="linux_getrandom""#];
        let mut cargo = self.cargo(&self.root, &target, &flags);
        run(cargo.args(["--profile", "image", "--package", "cardhost-vmm", "--bin", "cardhost-vmm"]));
        target.join(TARGET).join("image/cardhost-vmm")
    }

    fn cargo(&self, folder: &Path, target: &Path, flags: &[&str]) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        for (name, _) in env::vars_os().filter(|(name, _)| is_cleared(&name.to_string_lossy())) {
            cargo.env_remove(name);
        }
        cargo.current_dir(folder).env("CARGO_ENCODED_RUSTFLAGS", self.flags(flags));
        cargo.args(["build", "--locked", "--target", TARGET, "--target-dir"]).arg(target);
        cargo.stdin(Stdio::null());
        cargo
    }

    /// Flags for the target alone; given even if empty, so that no configuration file adds any.
    fn flags(&self, flags: &[&str]) -> OsString {
        let mut all: Vec<OsString> = flags.iter().map(Into::into).collect();
        let through = PathBuf::from(format!("/proc/self/fd/{ROOT}"));
        let sources = sysroot().join("lib/rustlib/src/rust");
        for (from, to) in [
            (&self.root, "/cardhost"),
            (&through, "/cardhost"),
            (&self.cargo_home, "/cargo"),
            (&sources, "/rust"),
        ] {
            let mut flag = OsString::from("--remap-path-prefix=");
            flag.push(from);
            flag.push("=");
            flag.push(to);
            all.push(flag);
        }
        all.join("\x1f".as_ref())
    }
}

fn is_cleared(name: &str) -> bool {
    CLEARED.contains(&name) || CLEARED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn run(cargo: &mut Command) {
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "{cargo:?}: {status}");
}

fn cargo_home() -> PathBuf {
    let home = || env::home_dir().expect("a home directory").join(".cargo");
    env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from)
}

fn sysroot() -> PathBuf {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "sysroot"]).output().expect("rustc runs");
    PathBuf::from(String::from_utf8(output.stdout).expect("a UTF-8 path").trim_end())
}
