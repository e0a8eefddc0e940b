//! Programs run by an ordinary user, with access to `/dev/kvm` or without.
//!
//! Only root can set that up: in a mount namespace of its own the program sees a node of the device that belongs to a
//! group which nobody else is in.

use std::{
    ffi::OsString,
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::process::program;

/// A user and a group that every Linux has and that own nothing.
const NOBODY: u32 = 65_534;
/// The group of the device's node.
const KVM_GROUP: u32 = 54_321;

/// Makes the node, mounts it where the device is and becomes the user. Arguments: folder, groups, command.
const SCRIPT: &str = r#"set -e
mknod -m 660 "$1/kvm" c 10 232
chgrp 54321 "$1/kvm"
mount --bind "$1/kvm" /dev/kvm
groups=$2; shift 2
exec setpriv --reuid=65534 --regid=65534 --groups="$groups" --inh-caps=-all --bounding-set=-all "$@""#;

/// An ordinary user with a folder of their own.
pub struct OrdinaryUser {
    folder: TempDir,
    in_group: bool,
}

impl OrdinaryUser {
    /// A user who is in the device's group, or is not. `None`, said loudly, if this is not root's test run.
    pub fn new(test: &str, in_group: bool) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("\n### DID NOT RUN: {test}: only root can become another user ###");
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary directory");
        own(folder.path());
        Some(Self { folder, in_group })
    }

    /// A new folder of theirs.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir(&path).expect("a folder");
        own(&path);
        path
    }

    /// Gives them a folder.
    pub fn give(&self, folder: &Path) {
        own(folder);
    }

    /// What stands before the arguments of a program so that it runs as this user, the program included.
    pub fn command_line(&self, name: &str) -> Vec<OsString> {
        // The build's folder may be closed to others.
        let copy = self.folder.path().join(name);
        if !copy.exists() {
            fs::copy(program(name), &copy).expect("a copy of the program");
            fs::set_permissions(&copy, Permissions::from_mode(0o755)).expect("a program");
        }
        let nodes = tempfile::tempdir_in(self.folder.path()).expect("a folder").keep();
        let groups = if self.in_group { KVM_GROUP } else { NOBODY };
        let words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh"];
        let mut line: Vec<OsString> = words.map(OsString::from).into();
        line.extend([nodes.into(), groups.to_string().into(), copy.into()]);
        line
    }
}

/// True if a process runs with the ordinary user's id.
pub fn runs_as_nobody(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("Uid:\t").is_some_and(|ids| ids.starts_with("65534\t65534")))
}

fn own(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).expect("root gives it away");
}
