//! A user namespace of the launcher's own (user_namespaces(7)), for a daemon that may not enter the other namespaces without.
//!
//! Cards can be users of their own in it if somebody who is outside maps some there:
//!
//! ```text
//! launcher ─fork─▶ mapper, outside of it, waits ────▶ maps: with CAP_SETUID, or by newuidmap as /etc/subuid allows
//!    └──────────── unshare ─▶ inside ─▶ told ─────────▶┘        └─▶ launcher goes on
//! ```
//!
//! Inside, the launcher has the name that it has outside, and cards the range that is configured.

use std::{
    fs,
    io::{self, Read, Write},
    process::{Command, Stdio},
};

use cardhost_wire::launch::UserIds;
use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, Gid, Pid, Uid, fork, getegid, geteuid, getpid},
};

use super::{
    isolation::CardUsers,
    subordinate::{self, Subordinate},
};

/// Who maps cards' users, and to which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mapper {
    /// This process's own privilege, to themselves.
    Privilege,
    /// newuidmap(1) and newgidmap(1), to what the host's administrator has set aside for this user.
    Subordinate(Subordinate),
}

impl Mapper {
    /// The users that cards have by it.
    pub fn users(&self, wanted: UserIds) -> CardUsers {
        match self {
            Self::Privilege => CardUsers { ids: wanted, outside: wanted.first },
            Self::Subordinate(ids) => {
                let count = wanted.count.min(ids.count);
                CardUsers { ids: UserIds { count, ..wanted }, outside: ids.uid }
            }
        }
    }

    /// Maps users for a process that waits in a namespace of its own.
    fn map(&self, process: Pid, users: UserIds, own: (Uid, Gid)) -> io::Result<()> {
        let (uid, gid) = (own.0.as_raw(), own.1.as_raw());
        let first = users.first;
        match self {
            Self::Privilege => {
                write_map(process, "gid_map", [[gid, gid, 1], [first, first, users.count]])?;
                write_map(process, "uid_map", [[uid, uid, 1], [first, first, users.count]])
            }
            Self::Subordinate(ids) => {
                run_mapper(subordinate::NEWGIDMAP, process, [[gid, gid, 1], [first, ids.gid, users.count]])?;
                run_mapper(subordinate::NEWUIDMAP, process, [[uid, uid, 1], [first, ids.uid, users.count]])
            }
        }
    }
}

/// Enters a user namespace and with it `others`. The users that the mapper has mapped in it; without a mapper, or if it
/// failed, only the launcher itself has a name there.
///
/// # Errors
/// The host gives no user namespaces.
pub fn enter(
    others: CloneFlags,
    mapper: Option<&Mapper>,
    wanted: UserIds,
) -> Result<Option<CardUsers>, Errno> {
    let own = (geteuid(), getegid());
    let waiting = mapper.and_then(|mapper| Waiting::fork(mapper, mapper.users(wanted).ids, own).ok());
    unshare(others | CloneFlags::CLONE_NEWUSER)?;
    // The files of the mappings belong to whom may read this process.
    prctl::set_dumpable(true)?;
    let mapped = mapper.filter(|_| waiting.is_some_and(Waiting::maps));
    if mapped.is_none() {
        // Without its own name there it can make no folder; that shows in `enter_root`.
        let _ = keep_name(own);
    }
    prctl::set_dumpable(false)?;
    Ok(mapped.map(|mapper| mapper.users(wanted)))
}

/// A mapper that has been forked and waits for its word. Dropped without it, it ends.
struct Waiting {
    mapper: Pid,
    word: io::PipeWriter,
}

impl Waiting {
    #[expect(unsafe_code, reason = "fork")]
    fn fork(mapper: &Mapper, users: UserIds, own: (Uid, Gid)) -> io::Result<Self> {
        let (mut told, word) = io::pipe()?;
        let launcher = getpid();
        // SAFETY: the launcher has one thread, so that no lock is held by another in the child's copy of memory.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok(Self { mapper: child, word }),
            ForkResult::Child => {
                drop(word);
                let mapped = told.read_exact(&mut [0]).is_ok() && maps(mapper, launcher, users, own);
                // SAFETY: does not return; nothing of the launcher's is dropped or flushed in its copy.
                unsafe { libc::_exit(i32::from(!mapped)) }
            }
        }
    }

    /// Gives it its word and waits until it has ended.
    fn maps(mut self) -> bool {
        let told = self.word.write_all(&[1]);
        told.is_ok() && matches!(waitpid(self.mapper, None), Ok(WaitStatus::Exited(_, 0)))
    }
}

fn maps(mapper: &Mapper, process: Pid, users: UserIds, own: (Uid, Gid)) -> bool {
    let mapped = mapper.map(process, users, own);
    if let Err(error) = &mapped {
        super::log(&format!("users of cards are not mapped: {error}"));
    }
    mapped.is_ok()
}

/// The same user and group inside as outside.
fn keep_name((user, group): (Uid, Gid)) -> io::Result<()> {
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

/// Lines of first inside, first outside, how many.
fn write_map(process: Pid, file: &str, lines: [[u32; 3]; 2]) -> io::Result<()> {
    let lines = lines.map(|[inside, outside, count]| format!("{inside} {outside} {count}\n"));
    fs::write(format!("/proc/{process}/{file}"), lines.concat())
}

fn run_mapper(program: &str, process: Pid, lines: [[u32; 3]; 2]) -> io::Result<()> {
    let numbers = lines.concat().into_iter().map(|number| number.to_string());
    let ended = Command::new(program)
        .arg(process.to_string())
        .args(numbers)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    if ended.success() { Ok(()) } else { Err(io::Error::other(format!("{program}: {ended}"))) }
}
