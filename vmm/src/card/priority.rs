//! A guest that computes for long runs behind those that answer at once.
//!
//! ```text
//! brisk ── a whole tick of the watchdog in one exchange ──▶ patient: slices of 100 ms
//!   ▲                                                          │
//!   └──────────────────── the guest is idle ───────────────────┘
//! ```
//!
//! The scheduler lets a thread that wakes run before one whose slice is longer (sched_setattr(2), `sched_runtime`, since
//! Linux 6.12; older kernels ignore it). So a patient guest gets its share of the processor, but no neighbour waits for
//! the end of its slice. Neither way needs a privilege, and an exchange that is short costs no system call.

use std::io;

/// The longest slice there is, nanoseconds.
const PATIENT: u64 = 100_000_000;
/// The system's own.
const BRISK: u64 = 0;

/// How long the thread that runs the guest runs at a time.
pub struct Priority {
    /// 0: the calling thread.
    thread: libc::pid_t,
    /// Policy and nice value as they are, and the slice; `None` if the system does not tell.
    attributes: Option<libc::sched_attr>,
}

impl Priority {
    /// With slices of the system's own length.
    pub fn new(thread: libc::pid_t) -> Self {
        Self { thread, attributes: attributes(thread).ok() }
    }

    /// Long slices from now on.
    pub fn lower(&mut self) {
        self.set(PATIENT);
    }

    /// Slices of the system's own length again, if they were long.
    pub fn restore(&mut self) {
        self.set(BRISK);
    }

    fn set(&mut self, slice: u64) {
        if let Some(attributes) = &mut self.attributes
            && attributes.sched_runtime != slice
        {
            attributes.sched_runtime = slice;
            // What fails leaves the thread as it is: its neighbours wait longer, and nothing else.
            let _ = set_attributes(self.thread, attributes);
        }
    }
}

/// True if the scheduler obeys slices. The calling thread has had a long one then, and none any more.
pub fn is_obeyed() -> bool {
    let mut own = Priority::new(0);
    own.lower();
    let obeyed = told(0).is_ok_and(|now| now.sched_runtime == PATIENT);
    own.restore();
    obeyed
}

/// What is to be set again, but for the slice: the system's own.
fn attributes(thread: libc::pid_t) -> io::Result<libc::sched_attr> {
    Ok(libc::sched_attr { sched_runtime: BRISK, ..told(thread)? })
}

/// What the kernel has for a thread; it tells a slice of its own as its base slice.
#[expect(unsafe_code, reason = "the system call has no wrapper")]
fn told(thread: libc::pid_t) -> io::Result<libc::sched_attr> {
    let size = size_of::<libc::sched_attr>() as libc::c_uint;
    // SAFETY: a structure of numbers may be all zeros.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most `size` bytes to the structure, which is that long.
    let done = unsafe { libc::syscall(libc::SYS_sched_getattr, thread, &raw mut attributes, size, 0) };
    if done == 0 { Ok(attributes) } else { Err(io::Error::last_os_error()) }
}

#[expect(unsafe_code, reason = "the system call has no wrapper")]
fn set_attributes(thread: libc::pid_t, attributes: &libc::sched_attr) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as the structure's `size` says, which `attributes` has filled in.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, thread, &raw const *attributes, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice() -> u64 {
        told(0).unwrap().sched_runtime
    }

    #[test]
    fn slices_are_long_only_between_the_two_calls() {
        let before = slice();
        let mut priority = Priority::new(0);
        priority.lower();
        if slice() == before {
            return; // A kernel before 6.12 keeps its own length.
        }
        assert_eq!(slice(), PATIENT);
        priority.restore();
        assert_eq!(slice(), before);
        assert!(is_obeyed());
        assert_eq!(slice(), before);
    }
}
