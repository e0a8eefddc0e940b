//! A guest that computes for long runs behind those that answer at once.
//!
//! ```text
//! foreground ── a whole tick of the watchdog in one exchange ──▶ background (nice 19)
//!      ▲                                                             │
//!      └───────────────────── the guest is idle ─────────────────────┘
//! ```
//!
//! An exchange that is short costs no system call by this. The way back is a privilege, which the launcher gives all
//! cards if it can (RLIMIT_NICE); without it a card stays in the foreground, for it could not return.

use nix::sys::resource::{Resource, getrlimit};
use rustix::process::{Pid, getpriority_process, setpriority_process};

/// The lowest priority there is (sched(7)).
const BACKGROUND: i32 = 19;
/// RLIMIT_NICE counts from the other end (getrlimit(2)).
const CEILING: i32 = 20;

/// The priority of the thread that runs the guest.
pub struct Priority {
    /// `None`: the calling thread.
    thread: Option<Pid>,
    /// Its nice value in the foreground, if it may return to it.
    foreground: Option<i32>,
    is_lowered: bool,
}

impl Priority {
    /// In the foreground, with the priority that the thread has.
    pub fn new(thread: Option<Pid>) -> Self {
        let foreground = getpriority_process(thread).ok().filter(|nice| may_return_to(*nice));
        Self { thread, foreground, is_lowered: false }
    }

    /// To the background.
    pub fn lower(&mut self) {
        if self.foreground.is_some() && !self.is_lowered {
            // What fails leaves the thread where it is.
            self.is_lowered = setpriority_process(self.thread, BACKGROUND).is_ok();
        }
    }

    /// Back to the foreground, if it left that.
    pub fn restore(&mut self) {
        if let (true, Some(nice)) = (self.is_lowered, self.foreground) {
            self.is_lowered = setpriority_process(self.thread, nice).is_err();
        }
    }
}

/// The limit that [`Priority`] needs to return to the priority of the calling process: soft and hard.
///
/// # Errors
/// The system does not tell the priority.
pub fn limit() -> rustix::io::Result<u64> {
    getpriority_process(None).map(|nice| u64::from((CEILING - nice).unsigned_abs()))
}

fn may_return_to(nice: i32) -> bool {
    getrlimit(Resource::RLIMIT_NICE).is_ok_and(|(soft, _)| soft >= u64::from((CEILING - nice).unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::resource::setrlimit;

    fn nice() -> i32 {
        getpriority_process(None).unwrap()
    }

    #[test]
    fn a_thread_goes_to_the_background_and_back_if_it_may() {
        let limit = limit().unwrap();
        let before = nice();
        if setrlimit(Resource::RLIMIT_NICE, limit, limit).is_err() && !may_return_to(before) {
            let mut stuck = Priority::new(None);
            stuck.lower();
            assert_eq!(nice(), before, "there would be no way back");
            return;
        }
        let mut priority = Priority::new(None);
        priority.lower();
        assert_eq!(nice(), BACKGROUND);
        priority.restore();
        assert_eq!(nice(), before);
    }
}
