//! What a card's process gives up before the guest runs.

use std::io;

use nix::{
    sys::{
        prctl,
        resource::{Resource, setrlimit},
    },
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};

use super::capabilities;

/// Address space of a card's process: several times what it has.
const ADDRESSES: u64 = 64 << 20;
/// Descriptors that a card's process may hold: a handful, with room for KVM's own.
const DESCRIPTORS: u64 = 16;

/// Becomes `user`, if one is given; then gives up all capabilities, new privileges, core dumps, locked memory, queues, more descriptors and addresses, and being read by others. It makes no process or thread in
/// any case, which its filter forbids. Files may still be written: the host's log may be one, and there is no
/// other. A signal for the parent's death has to be asked for after this.
///
/// # Errors
/// The kernel refuses; the card is not started.
pub fn enter(user: Option<u32>) -> io::Result<()> {
    if let Some(user) = user {
        become_user(user)?;
    }
    capabilities::give_up()?;
    prctl::set_no_new_privs()?;
    prctl::set_dumpable(false)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    setrlimit(Resource::RLIMIT_MEMLOCK, 0, 0)?;
    setrlimit(Resource::RLIMIT_MSGQUEUE, 0, 0)?;
    setrlimit(Resource::RLIMIT_AS, ADDRESSES, ADDRESSES)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, DESCRIPTORS)?)
}

fn become_user(user: u32) -> nix::Result<()> {
    let (group, user) = (Gid::from_raw(user), Uid::from_raw(user));
    setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)
}
