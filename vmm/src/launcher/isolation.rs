//! What launcher and cards have apart from the host, and cards apart from each other. Namespaces are entered once here
//! and shared by all cards, because a network namespace for each would cost more memory than the card.

use std::{fs, io};

use cardhost_wire::launch::UserIds;
use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    sys::prctl,
    unistd::{getegid, geteuid, setsid},
};

use super::root;

/// A layer of the cards' isolation that this host does not give. They can run all the same.
#[derive(Debug, thiserror::Error)]
pub enum MissingLayer {
    /// No user for each card.
    #[error("all cards run as the daemon's user, for want of CAP_SETUID and CAP_SETGID")]
    CardUsers,
    /// No namespaces.
    #[error("cards share the host's network, IPC, UTS and mount namespaces: {0}")]
    Namespaces(Errno),
    /// The host's root.
    #[error("cards have the host's root directory: {0}")]
    Root(io::Error),
    /// Keys may be swapped out.
    #[error("the host's keys are not locked in memory and may be swapped out: {0}")]
    Locking(Errno),
}

/// Leaves the daemon's session, so that a terminal's signals end the daemon first and the cards by it.
pub fn leave_session() {
    // It fails only for a session's leader, who has left already.
    let _ = setsid();
}

/// CAP_SETGID and CAP_SETUID (capabilities(7)).
const BECOME_OTHERS: u64 = 1 << 6 | 1 << 7;

/// The users that cards' processes become, if this process may become any user. To be asked before
/// [`enter_namespaces`], in which a capability may mean less.
///
/// # Errors
/// [`MissingLayer::CardUsers`].
pub fn users(wanted: UserIds) -> Result<UserIds, MissingLayer> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t"));
    let effective = effective.and_then(|set| u64::from_str_radix(set, 16).ok()).unwrap_or(0);
    if effective & BECOME_OTHERS == BECOME_OTHERS { Ok(wanted) } else { Err(MissingLayer::CardUsers) }
}

/// Whose the entered namespaces are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// The host's.
    Hosts,
    /// Those of a user namespace of the launcher's own.
    OfOwnUser,
}

impl Namespaces {
    /// One line for people.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Hosts => "network, IPC, UTS and mounts, empty, shared by all cards",
            Self::OfOwnUser => {
                "network, IPC, UTS and mounts, empty, in a user namespace of their own, shared by all cards"
            }
        }
    }
}

/// Enters empty network, IPC and UTS namespaces: no interface, no queue, no segment, no name of the host; and a mount
/// namespace for [`enter_root`]. An ordinary user may do so in a user namespace of his own, where the host allows it.
///
/// # Errors
/// [`MissingLayer::Namespaces`].
pub fn enter_namespaces() -> Result<Namespaces, MissingLayer> {
    let own = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWNS;
    let (user, group) = (geteuid(), getegid());
    let entered = unshare(own).map(|()| Namespaces::Hosts).or_else(|_| {
        unshare(own | CloneFlags::CLONE_NEWUSER)?;
        // Without its own name there it can make no folder; that shows in `enter_root`.
        let _ = keep_name(user.as_raw(), group.as_raw());
        Ok(Namespaces::OfOwnUser)
    });
    entered.map_err(MissingLayer::Namespaces)
}

/// The same user and group inside of a user namespace as outside. The files belong to whom may read this process.
fn keep_name(user: u32, group: u32) -> io::Result<()> {
    prctl::set_dumpable(true)?;
    let written = fs::write("/proc/self/uid_map", format!("{user} {user} 1"))
        .and_then(|()| fs::write("/proc/self/setgroups", "deny"))
        .and_then(|()| fs::write("/proc/self/gid_map", format!("{group} {group} 1")));
    prctl::set_dumpable(false)?;
    written
}

/// Leaves the host's files, but for those that are open.
///
/// # Errors
/// [`MissingLayer::Root`].
pub fn enter_root() -> Result<(), MissingLayer> {
    root::enter().map_err(MissingLayer::Root)
}
