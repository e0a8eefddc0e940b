//! What launcher and cards have apart from the host, and cards apart from each other. Namespaces are entered once here
//! and shared by all cards, because a network namespace for each would cost more memory than the card.

use std::fs;

use nix::{
    sched::{CloneFlags, unshare},
    unistd::setsid,
};

/// Leaves the daemon's session, so that a terminal's signals end the daemon first and the cards by it.
pub fn leave_session() {
    // It fails only for a session's leader, who has left already.
    let _ = setsid();
}

/// CAP_SETGID and CAP_SETUID (capabilities(7)).
const BECOME_OTHERS: u64 = 1 << 6 | 1 << 7;

/// True if this process may become any user: then each card's process becomes one of its own. To be asked before
/// [`enter_namespaces`], in which a capability may mean less.
pub fn may_become_others() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t"));
    let effective = effective.and_then(|set| u64::from_str_radix(set, 16).ok()).unwrap_or(0);
    effective & BECOME_OTHERS == BECOME_OTHERS
}

/// Enters empty network, IPC and UTS namespaces: no interface, no queue, no segment, no name of the host. An
/// ordinary user may do so in a user namespace of his own, where the host allows it.
///
/// # Errors
/// The host does not allow it; the cards can run all the same.
pub fn enter_namespaces() -> nix::Result<()> {
    let empty = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    unshare(empty).or_else(|_| unshare(empty | CloneFlags::CLONE_NEWUSER))
}
