use nix::{
    sys::{
        signal::Signal,
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, fork},
};

use super::*;

/// Highest system call number tried; x86-64 has fewer.
const LAST: libc::c_long = 480;

/// uretprobe and uprobe: the kernel lets them past every filter, and they do nothing outside of a probe it has set.
const BEYOND_FILTERS: [libc::c_long; 2] = [335, 336];

/// How a child ends that installs the filter and makes one call with zero arguments.
#[expect(unsafe_code, reason = "a filter can only be tried in a process of its own")]
fn outcome(call: libc::c_long, argument: u64) -> WaitStatus {
    let program = program().unwrap();
    // SAFETY: the child makes only system calls and ends by one; it touches nothing that another thread may hold.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => waitpid(child, None).unwrap(),
        ForkResult::Child => {
            let installed = seccompiler::apply_filter(&program).is_ok();
            // SAFETY: zero and small arguments: the calls fail, block not, or are killed before they begin.
            unsafe {
                libc::syscall(call, -1_i64, argument, 0, 0, 0, 0);
                libc::syscall(libc::SYS_exit_group, i32::from(!installed))
            };
            unreachable!("exit_group does not return")
        }
    }
}

fn is_killed(status: WaitStatus) -> bool {
    matches!(status, WaitStatus::Signaled(_, Signal::SIGSYS, _))
}

#[test]
fn every_other_system_call_kills() {
    let listed: Vec<_> = ALLOWED
        .iter()
        .map(|(call, _)| *call)
        .chain([libc::SYS_ioctl, libc::SYS_mmap])
        .chain(BEYOND_FILTERS)
        .collect();
    let survivors: Vec<_> = (0..LAST)
        .filter(|call| !listed.contains(call))
        .filter(|call| !is_killed(outcome(*call, 0)))
        .collect();
    assert_eq!(survivors, [] as [libc::c_long; 0]);
}

#[test]
fn every_other_ioctl_kills() {
    assert!(is_killed(outcome(libc::SYS_ioctl, 0xAE01)), "KVM_CREATE_VM");
    assert!(is_killed(outcome(libc::SYS_ioctl, 0x5413)), "TIOCGWINSZ");
    assert!(!is_killed(outcome(libc::SYS_ioctl, KVM_RUN)), "KVM_RUN");
}

#[test]
fn an_executable_mapping_kills() {
    assert!(is_killed(outcome(libc::SYS_mmap, 4096)), "no protection bits are not the allocator's either");
}
