//! What launcher and cards have apart from the host, and cards apart from each other. Namespaces are entered once here
//! and shared by all cards, because a network namespace for each would cost more memory than the card.

use std::{fmt, fs, io};

use cardhost_wire::launch::UserIds;
use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    unistd::{geteuid, setsid},
};

use super::{
    root,
    subordinate::Subordinate,
    user_namespace::{self, Mapper},
};

/// A layer of the cards' isolation that this host does not give. They can run all the same.
#[derive(Debug, thiserror::Error)]
pub enum MissingLayer {
    /// No user for each card.
    #[error(
        "all cards run as the daemon's user, for want of CAP_SETUID and CAP_SETGID or of ids in /etc/subuid and /etc/subgid"
    )]
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

/// True if this process may become any user.
fn may_become_others() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t"));
    let effective = effective.and_then(|set| u64::from_str_radix(set, 16).ok()).unwrap_or(0);
    effective & BECOME_OTHERS == BECOME_OTHERS
}

/// The users that cards' processes become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CardUsers {
    /// As the launcher calls them.
    pub ids: UserIds,
    /// The first, as the host does.
    pub outside: u32,
}

impl fmt::Display for CardUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.outside.saturating_add(self.ids.count.saturating_sub(1));
        write!(f, "each card's process its own, of {}-{last}", self.outside)
    }
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
/// namespace for [`enter_root`]. An ordinary user may do so in a user namespace of his own, where the host allows it. And the
/// users that cards can become where that has led.
pub fn enter_namespaces(
    wanted: UserIds,
) -> (Result<Namespaces, MissingLayer>, Result<CardUsers, MissingLayer>) {
    let own = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWNS;
    let privileged = may_become_others().then_some(Mapper::Privilege);
    let anybody = privileged.as_ref().map(|mapper| mapper.users(wanted));
    if unshare(own).is_ok() {
        return (Ok(Namespaces::Hosts), anybody.ok_or(MissingLayer::CardUsers));
    }
    let mapper = privileged.or_else(|| Subordinate::of(geteuid()).map(Mapper::Subordinate));
    match user_namespace::enter(own, mapper.as_ref(), wanted) {
        Ok(mapped) => (Ok(Namespaces::OfOwnUser), mapped.ok_or(MissingLayer::CardUsers)),
        Err(why) => (Err(MissingLayer::Namespaces(why)), anybody.ok_or(MissingLayer::CardUsers)),
    }
}

/// Leaves the host's files, but for those that are open.
///
/// # Errors
/// [`MissingLayer::Root`].
pub fn enter_root() -> Result<(), MissingLayer> {
    root::enter().map_err(MissingLayer::Root)
}
