//! What launcher and cards have apart from the host: entered once here and shared by all cards, because a network
//! namespace for each would cost more memory than the card.

use nix::{
    sched::{CloneFlags, unshare},
    unistd::setsid,
};

/// Leaves the daemon's session, so that a terminal's signals end the daemon first and the cards by it.
pub fn leave_session() {
    // It fails only for a session's leader, who has left already.
    let _ = setsid();
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
