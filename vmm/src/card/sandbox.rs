//! What a card's process gives up before the guest runs.

use nix::sys::{
    prctl,
    resource::{Resource, setrlimit},
};

/// Descriptors that a card's process may hold: a handful, with room for KVM's own.
const DESCRIPTORS: u64 = 16;

/// Gives up new privileges, core dumps, more descriptors and being read by others. Files may still be written: the
/// host's log may be one, and there is no other.
///
/// # Errors
/// The kernel refuses; the card is not started.
pub fn enter() -> nix::Result<()> {
    prctl::set_no_new_privs()?;
    prctl::set_dumpable(false)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, DESCRIPTORS)
}
