//! The system calls of a running card: a table, each line with its caller. Everything else kills the process.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

// linux/kvm.h: _IO(0xAE, 0x80), _IOR(0xAE, 0x81, kvm_regs), _IOR(0xAE, 0x83, kvm_sregs), _IOR(0xAE, 0x9f, kvm_vcpu_events).
const KVM_RUN: u64 = 0xAE80;
const KVM_GET_REGS: u64 = 0x8090_AE81;
const KVM_GET_SREGS: u64 = 0x8138_AE83;
const KVM_GET_VCPU_EVENTS: u64 = 0x8040_AE9F;

/// System calls with any arguments.
const ALLOWED: &[(libc::c_long, &str)] = &[
    (libc::SYS_read, "Link::fill"),
    (libc::SYS_recvfrom, "Link::fill"),
    (libc::SYS_write, "Link::flush; the log line of a crash"),
    (libc::SYS_sendto, "Link::flush"),
    (libc::SYS_pread64, "Statistics: smaps"),
    (libc::SYS_getrusage, "Statistics: CPU time"),
    (libc::SYS_brk, "allocator"),
    (libc::SYS_mremap, "allocator"),
    (libc::SYS_munmap, "allocator"),
    (libc::SYS_madvise, "allocator"),
    (libc::SYS_rt_sigreturn, "Watchdog: return from the tick"),
    (libc::SYS_exit_group, "end of the card"),
];

/// ioctl by request.
const IOCTLS: &[(u64, &str)] = &[
    (KVM_RUN, "run loop"),
    (KVM_GET_REGS, "VirtualMachine::instruction_pointer"),
    (KVM_GET_SREGS, "VirtualMachine::exception"),
    (KVM_GET_VCPU_EVENTS, "VirtualMachine::exception"),
];

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
pub fn program() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: std::collections::BTreeMap<_, _> =
        ALLOWED.iter().map(|(call, _)| (*call, vec![])).collect();
    rules.insert(
        libc::SYS_ioctl,
        IOCTLS.iter().map(|(request, _)| argument(1, *request)).collect::<Result<_, _>>()?,
    );
    rules.insert(libc::SYS_mmap, vec![data_mapping()?]);
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, TargetArch::x86_64)?
        .try_into()
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
