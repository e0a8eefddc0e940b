//! The system calls of a running card: a table for each kind of machine, each line with its caller. Everything
//! else kills the process.

use std::collections::BTreeMap;

use cardhost_wire::launch::Isolation;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

// linux/kvm.h: _IO(0xAE, 0x80), _IOR(0xAE, 0x81, kvm_regs), _IOR(0xAE, 0x83, kvm_sregs), _IOR(0xAE, 0x9f, kvm_vcpu_events).
const KVM_RUN: u32 = 0xAE80;
const KVM_GET_REGS: u32 = 0x8090_AE81;
const KVM_GET_SREGS: u32 = 0x8138_AE83;
const KVM_GET_VCPU_EVENTS: u32 = 0x8040_AE9F;

/// System calls with any arguments.
const ALLOWED: &[(libc::c_long, &str)] = &[
    (libc::SYS_read, "Link::fill"),
    (libc::SYS_recvfrom, "Link::fill"),
    (libc::SYS_write, "Link::flush; the log line of a crash"),
    (libc::SYS_sendto, "Link::flush"),
    (libc::SYS_getrusage, "Statistics: CPU time"),
    (libc::SYS_brk, "allocator"),
    (libc::SYS_mremap, "allocator"),
    (libc::SYS_munmap, "allocator"),
    (libc::SYS_madvise, "allocator"),
    (libc::SYS_rt_sigreturn, "Watchdog: return from the tick"),
    (libc::SYS_exit_group, "end of the card"),
];

/// More of them for a card in a virtual machine.
const ALLOWED_KVM: &[(libc::c_long, &str)] = &[(libc::SYS_pread64, "Statistics: smaps")];

/// ioctl by request, for a card in a virtual machine.
const IOCTLS: &[(u32, &str)] = &[
    (KVM_RUN, "run loop"),
    (KVM_GET_REGS, "VirtualMachine::instruction_pointer"),
    (KVM_GET_SREGS, "VirtualMachine::exception"),
    (KVM_GET_VCPU_EVENTS, "VirtualMachine::exception"),
];

/// sched_setattr by thread, for a card in a virtual machine.
const PRIORITIES: &[(libc::c_int, &str)] = &[(0, "Priority: its own")];

/// More of them for the tender of a guest process.
const ALLOWED_TENDER: &[(libc::c_long, &str)] = &[
    (libc::SYS_wait4, "Tracee::wait"),
    (libc::SYS_lseek, "Statistics: memory's pages"),
    (libc::SYS_clock_gettime, "Statistics: the guest's CPU time"),
    (libc::SYS_sched_setattr, "Priority: the guest's"),
];

/// ptrace by request, for the tender of a guest process.
const TRACES: &[(libc::c_uint, &str)] = &[
    (libc::PTRACE_CONT, "Tracee::go_on"),
    (libc::PTRACE_GETREGS, "Tracee::general"),
    (libc::PTRACE_SETREGS, "Tracee::set_general"),
    (libc::PTRACE_GETSIGINFO, "Tracee::of_signal"),
    (libc::PTRACE_GETEVENTMSG, "Tracee::of_exit"),
];

/// Signals that the tender of a guest process sends.
const SIGNALS: &[(libc::c_int, &str)] = &[(libc::SIGSTOP, "Tracee::halt")];

/// Installs the filter for this thread, the process's only one.
///
/// # Errors
/// The kernel has no seccomp filters.
pub fn install(program: &BpfProgram) -> Result<(), seccompiler::Error> {
    seccompiler::apply_filter(program)
}

/// The table as a filter; compiled once for all cards.
///
/// # Errors
/// The table is malformed.
pub fn program(isolation: Isolation) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules = calls(ALLOWED);
    rules.insert(libc::SYS_mmap, vec![data_mapping()?]);
    match isolation {
        Isolation::MicroVm => {
            rules.extend(calls(ALLOWED_KVM));
            rules.insert(libc::SYS_ioctl, arguments(1, IOCTLS)?);
            rules.insert(libc::SYS_sched_setattr, arguments(0, PRIORITIES)?);
        }
        Isolation::Process => {
            rules.extend(calls(ALLOWED_TENDER));
            rules.insert(libc::SYS_ptrace, arguments(0, TRACES)?);
            rules.insert(libc::SYS_kill, arguments(1, SIGNALS)?);
        }
    }
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, TargetArch::x86_64)?
        .try_into()
}

fn calls(table: &[(libc::c_long, &str)]) -> BTreeMap<libc::c_long, Vec<SeccompRule>> {
    table.iter().map(|(call, _)| (*call, vec![])).collect()
}

/// A rule for each value that this argument may have.
fn arguments<T: Copy + Into<i64>>(
    number: u8,
    table: &[(T, &str)],
) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    table.iter().map(|(value, _)| argument(number, (*value).into() as u64)).collect()
}

fn argument(number: u8, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    let condition = SeccompCondition::new(number, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?;
    SeccompRule::new(vec![condition])
}

/// The allocator's mappings: readable and writable, never executable.
fn data_mapping() -> Result<SeccompRule, seccompiler::BackendError> {
    argument(2, (libc::PROT_READ | libc::PROT_WRITE) as u64)
}

#[cfg(test)]
mod tests;
