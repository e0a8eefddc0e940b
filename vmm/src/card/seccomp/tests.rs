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
fn outcome(isolation: Isolation, call: libc::c_long, arguments: [i64; 2]) -> WaitStatus {
    let program = program(isolation).unwrap();
    // SAFETY: the child makes only system calls and ends by one; it touches nothing that another thread may hold.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => waitpid(child, None).unwrap(),
        ForkResult::Child => {
            let installed = seccompiler::apply_filter(&program).is_ok();
            // SAFETY: zero and small arguments: the calls fail, block not, or are killed before they begin.
            unsafe {
                libc::syscall(call, arguments[0], arguments[1], 0, 0, 0, 0);
                libc::syscall(libc::SYS_exit_group, i32::from(!installed))
            };
            unreachable!("exit_group does not return")
        }
    }
}

fn is_killed(status: WaitStatus) -> bool {
    matches!(status, WaitStatus::Signaled(_, Signal::SIGSYS, _))
}

/// System calls beyond the table, of those that it does not list.
fn survivors(
    isolation: Isolation,
    table: &[(libc::c_long, &str)],
    with_rules: &[libc::c_long],
) -> Vec<libc::c_long> {
    let listed = [ALLOWED, table].concat().into_iter().map(|(call, _)| call);
    let listed: Vec<_> = listed.chain(with_rules.iter().copied()).chain(BEYOND_FILTERS).collect();
    (0..LAST)
        .filter(|call| !listed.contains(call))
        .filter(|call| !is_killed(outcome(isolation, *call, [-1, 0])))
        .collect()
}

#[test]
fn every_other_system_call_kills() {
    let none = [] as [libc::c_long; 0];
    let with_rules = [libc::SYS_mmap, libc::SYS_ioctl, libc::SYS_sched_setattr];
    assert_eq!(survivors(Isolation::MicroVm, ALLOWED_KVM, &with_rules), none);
    let with_rules = [libc::SYS_mmap, libc::SYS_ptrace, libc::SYS_kill];
    assert_eq!(survivors(Isolation::Process, ALLOWED_TENDER, &with_rules), none);
}

#[test]
fn every_other_ioctl_kills() {
    let ioctl = |request: u32| outcome(Isolation::MicroVm, libc::SYS_ioctl, [-1, request.into()]);
    assert!(is_killed(ioctl(0xAE01)), "KVM_CREATE_VM");
    assert!(is_killed(ioctl(0x5413)), "TIOCGWINSZ");
    assert!(!is_killed(ioctl(KVM_RUN)), "KVM_RUN");
}

#[test]
fn a_card_sets_no_priority_but_its_own() {
    let priority = |who: i64| outcome(Isolation::MicroVm, libc::SYS_sched_setattr, [who, 0]);
    assert!(is_killed(priority(1)));
    assert!(!is_killed(priority(0)));
}

#[test]
fn a_tender_attaches_to_nobody_and_sends_one_signal() {
    let trace = |request: libc::c_uint| outcome(Isolation::Process, libc::SYS_ptrace, [request.into(), 0]);
    for other in [libc::PTRACE_ATTACH, libc::PTRACE_SEIZE, libc::PTRACE_POKEDATA, libc::PTRACE_DETACH] {
        assert!(is_killed(trace(other)), "{other}");
    }
    assert!(!is_killed(trace(libc::PTRACE_CONT)));
    // Signal 0 to 64, each to a process that does not exist.
    let signal = |number: i64| outcome(Isolation::Process, libc::SYS_kill, [i32::MAX.into(), number]);
    let sent: Vec<_> = (0..=64).filter(|number| !is_killed(signal(*number))).collect();
    assert_eq!(sent, [i64::from(libc::SIGSTOP)]);
}

#[test]
fn an_executable_mapping_kills() {
    for isolation in [Isolation::MicroVm, Isolation::Process] {
        let mapping = outcome(isolation, libc::SYS_mmap, [-1, 4096]);
        assert!(is_killed(mapping), "no protection bits are not the allocator's either");
    }
}
