//! The fork of a process that is born in its control group.

use std::{mem::size_of, os::fd::AsRawFd};

use nix::{
    errno::Errno,
    unistd::{ForkResult, Pid},
};

use super::Group;

/// linux/sched.h; the library's constant of this name is too short for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// fork(2); the child is born in this group where that is of version 2. To move it there afterwards has the kernel wait for
/// every processor of the host.
///
/// # Errors
/// The system has no room for another process.
///
/// # Safety
/// The caller must have one thread.
#[expect(unsafe_code, reason = "fork, and a system call that has no wrapper")]
pub unsafe fn fork(group: Option<&Group>) -> Result<ForkResult, Errno> {
    let Some(birthplace) = group.and_then(|group| group.birthplace.as_ref()) else {
        // SAFETY: the caller has one thread, so that no lock is held by another in the child's copy of memory.
        return unsafe { nix::unistd::fork() };
    };
    // SAFETY: a structure of numbers may be all zeros.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = CLONE_INTO_CGROUP;
    arguments.exit_signal = libc::SIGCHLD as u64;
    arguments.cgroup = birthplace.as_raw_fd() as u64;
    // SAFETY: the kernel reads as many bytes as the structure has. Without a stack and without shared memory the child
    // goes on from here on a copy of everything, as after fork; the caller has one thread, and what the library keeps of
    // a process's number it asks the kernel for.
    let child =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) };
    Errno::result(child).map(|child| match child {
        0 => ForkResult::Child,
        child => ForkResult::Parent { child: Pid::from_raw(child as libc::pid_t) },
    })
}
