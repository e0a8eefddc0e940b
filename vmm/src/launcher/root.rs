//! A root directory of the launcher's own, with nothing in it but a `/proc` in which each process sees itself alone.
//!
//! ```text
//! host's root ──mount──▶ empty folder in memory with /proc ──pivot──▶ the only root ──remount──▶ read-only
//! ```
//!
//! Cards have it by the fork. Their statistics are read from `/proc`; they open nothing once their filter is
//! installed, and would find nothing if they could. What the launcher needs of the host's files it holds open.

use std::{fs, io, path::Path};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    unistd::{chdir, pivot_root},
};

/// Where the new root is put together: a folder that is there wherever `/dev/kvm` is. Only this namespace sees it.
const SITE: &str = "/dev";
const NOTHING_RUNS: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);
const NONE: Option<&str> = None;

/// Makes an empty folder the root of this process, in the mount namespace that it has for itself.
///
/// # Errors
/// The system refuses; the old root is still the root.
pub fn enter() -> io::Result<()> {
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    mount(Some("tmpfs"), SITE, Some("tmpfs"), NOTHING_RUNS, Some("size=64k,mode=755"))?;
    let entered = proc(&Path::new(SITE).join("proc")).and_then(|()| become_root());
    if entered.is_err() {
        // The error is what matters.
        let _ = chdir("/").and_then(|()| umount2(SITE, MntFlags::MNT_DETACH));
    }
    entered?;
    let sealed = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | NOTHING_RUNS;
    Ok(mount(NONE, "/", NONE, sealed, NONE)?)
}

fn become_root() -> io::Result<()> {
    chdir(SITE)?;
    pivot_root(".", ".")?;
    // The old root lies over the new one now: what comes off is the old.
    umount2(".", MntFlags::MNT_DETACH)?;
    Ok(chdir("/")?)
}

/// Where no instance of its own may be mounted, as in some containers, the host's is seen.
fn proc(target: &Path) -> io::Result<()> {
    fs::create_dir(target)?;
    let own = Some("hidepid=invisible,subset=pid");
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some("proc"), target, Some("proc"), NOTHING_RUNS, own)
        .or_else(|_| mount(Some("/proc"), target, NONE, bind, NONE))?;
    Ok(())
}
