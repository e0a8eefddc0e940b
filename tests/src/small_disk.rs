//! A file system of a few MiB, to be filled: mounted where only this test's thread, and what it starts, sees it.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

/// What fills it.
const FILLER: &str = "filler";

/// A small file system over a folder.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts it over a folder that is there, in a mount namespace of this thread. `None`, said loudly, if this is not
    /// root's test run.
    pub fn mount(test: &str, folder: &Path, mebibytes: u32) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("\n### DID NOT RUN: {test}: only root can mount ###");
            return None;
        }
        unshare(CloneFlags::CLONE_NEWNS).expect("root makes a mount namespace");
        let nothing = None::<&Path>;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(nothing, "/", nothing, private, nothing).expect("no mount goes out");
        let size = format!("size={mebibytes}m,mode=700");
        mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), Some(size.as_str())).expect("a tmpfs");
        Some(Self(folder.into()))
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        let mut filler = File::create(self.0.join(FILLER)).expect("a file");
        loop {
            match filler.write(&[0; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Makes room again.
    pub fn free(&self) {
        fs::remove_file(self.0.join(FILLER)).expect("the filler");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The folder's owner could not remove it while it was mounted over; it may be gone all the same.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(&self.0);
    }
}
