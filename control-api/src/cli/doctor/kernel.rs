//! The kernel's means of isolation.

use std::path::Path;

use super::{Finding, number, read};

pub(super) fn check() -> Vec<Finding> {
    vec![control_groups(), user_namespaces(), seccomp(), processes()]
}

fn control_groups() -> Finding {
    const CHECK: &str = "control groups";
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers");
    let v1 = Path::new("/sys/fs/cgroup/memory");
    match (v2.exists(), v1.exists()) {
        (true, _) => {
            let controllers = read("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
            Finding::good(CHECK, format!("version 2: {controllers}"))
        }
        (false, true) => Finding::good(CHECK, "version 1"),
        (false, false) => Finding::warning(
            CHECK,
            "not mounted",
            "mount control groups, so that memory and CPU of a card can be bounded: sudo mount -t cgroup2 none /sys/fs/cgroup",
        ),
    }
}

fn user_namespaces() -> Finding {
    let most = number("/proc/sys/user/max_user_namespaces").unwrap_or(0);
    let forbidden = number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0)
        || number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1);
    match (most, forbidden) {
        (0, _) => Finding::warning(
            "user namespaces",
            "none allowed",
            "sudo sysctl -w user.max_user_namespaces=1024",
        ),
        (_, true) => Finding::warning(
            "user namespaces",
            "only for root",
            "allow them, or let the daemon's service give it namespaces of its own",
        ),
        (_, false) => Finding::good("user namespaces", format!("up to {most}")),
    }
}

fn seccomp() -> Finding {
    let actions = read("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    if actions.split_whitespace().any(|action| action == "kill_process") {
        Finding::good("seccomp", "filters can end a process")
    } else {
        Finding::failure(
            "seccomp",
            "the kernel has no seccomp filters",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        )
    }
}

/// Cards as processes are traced by their tenders (`vmm/src/card/machine/process`).
fn processes() -> Finding {
    const CHECK: &str = "process isolation";
    match number("/proc/sys/kernel/yama/ptrace_scope") {
        Some(scope @ 2..) => Finding::warning(
            CHECK,
            format!("not possible: tracing is restricted (kernel.yama.ptrace_scope is {scope})"),
            "needed only without /dev/kvm: sudo sysctl -w kernel.yama.ptrace_scope=1",
        ),
        _ => Finding::good(
            CHECK,
            "possible, used only with --insecure-process-isolation; microVMs isolate better",
        ),
    }
}
