//! From a fork of the tender to a guest process: the guest's pages in, everything else out, then no system call more.

use std::ops::Range;

use nix::{
    errno::Errno,
    sys::mman::{MapFlags, ProtFlags},
};

use super::{
    Asked, ProcessError,
    memory::{Memory, Source},
    springboard::Springboard,
    tracee::Tracee,
};
use crate::image::Pages;

/// End of a process's addresses with four levels of page tables.
const ADDRESSES_END: u64 = 0x7FFF_FFFF_F000;
/// Not yet in every libc: since Linux 5.13 a tracer can ask where a process has registered its restartable sequences.
const PTRACE_GET_RSEQ_CONFIGURATION: libc::c_uint = 0x420F;
const RSEQ_FLAG_UNREGISTER: u64 = 1;
const SECCOMP_SET_MODE_FILTER: u64 = 1;
/// The largest error number that a system call returns, negated.
const MOST_ERRORS: u64 = 4095;

/// Strips the stopped fork of this process.
///
/// # Errors
/// The kernel refuses a step; the guest is not run.
pub fn strip(
    tracee: &Tracee,
    springboard: &Springboard,
    memory: &Memory,
    source: &Source<'_>,
) -> Result<(), ProcessError> {
    let calls = Calls { tracee, springboard };
    calls.forget_restartable_sequences()?;
    source
        .map
        .iter()
        .filter(|pages| !pages.range.is_empty())
        .try_for_each(|pages| calls.map(memory, pages))?;
    calls.call("close_range", libc::SYS_close_range, [0, u64::from(u32::MAX), 0])?;
    calls.unmap_all_but(source.map)?;
    calls.forbid_system_calls()
}

/// System calls that the process makes for its tender.
struct Calls<'a> {
    tracee: &'a Tracee,
    springboard: &'a Springboard,
}

impl Calls<'_> {
    fn call<const N: usize>(
        &self,
        what: &'static str,
        number: libc::c_long,
        arguments: [u64; N],
    ) -> Result<(), ProcessError> {
        let argument = |place: usize| arguments.get(place).copied().unwrap_or(0);
        let before = self.tracee.general().asked("PTRACE_GETREGS")?;
        let after = self.tracee.step(&libc::user_regs_struct {
            rip: self.springboard.system_call(),
            rax: number as u64,
            // Not in a system call: the kernel restarts none.
            orig_rax: u64::MAX,
            rdi: argument(0),
            rsi: argument(1),
            rdx: argument(2),
            r10: argument(3),
            r8: argument(4),
            r9: argument(5),
            ..before
        })?;
        match after.rax.wrapping_neg() {
            error @ 1..=MOST_ERRORS => Err(Errno::from_raw(error as i32)).asked(what),
            _ => Ok(()),
        }
    }

    /// The kernel would write to the place where the C library has registered them, which is about to go.
    fn forget_restartable_sequences(&self) -> Result<(), ProcessError> {
        let registered = restartable_sequences(self.tracee).asked("PTRACE_GET_RSEQ_CONFIGURATION")?;
        if registered.address == 0 {
            return Ok(());
        }
        let arguments =
            [registered.address, registered.size.into(), RSEQ_FLAG_UNREGISTER, registered.signature.into()];
        self.call("rseq", libc::SYS_rseq, arguments)
    }

    fn map(&self, memory: &Memory, pages: &Pages) -> Result<(), ProcessError> {
        let Range { start, end } = pages.range;
        let (descriptor, flags) = memory.mapping(pages);
        let flags = flags | MapFlags::MAP_FIXED_NOREPLACE;
        let arguments =
            [start, end - start, rights(pages).bits() as u64, flags.bits() as u64, descriptor as u64, start];
        self.call("map the guest's pages", libc::SYS_mmap, arguments)
    }

    /// The kernel may have sealed its own pages, with which a process can only read clocks; these then stay.
    fn unmap_all_but(&self, map: &[Pages]) -> Result<(), ProcessError> {
        let kernel = self.springboard.kernel_pages();
        let guest = map.iter().map(|pages| pages.range.clone());
        let kept: Vec<_> = guest.chain([self.springboard.range()]).chain(kernel.iter().cloned()).collect();
        let unmap = |range: &Range<u64>| {
            self.call(
                "unmap what is not the guest's",
                libc::SYS_munmap,
                [range.start, range.end - range.start],
            )
        };
        gaps(kept).iter().try_for_each(unmap)?;
        kernel.iter().try_for_each(|range| match unmap(range) {
            Err(ProcessError::System { source: Errno::EPERM, .. }) => Ok(()),
            other => other,
        })
    }

    fn forbid_system_calls(&self) -> Result<(), ProcessError> {
        let arguments = [SECCOMP_SET_MODE_FILTER, 0, self.springboard.kill_all()];
        self.call("seccomp", libc::SYS_seccomp, arguments)
    }
}

fn rights(pages: &Pages) -> ProtFlags {
    let mut rights = ProtFlags::PROT_READ;
    rights.set(ProtFlags::PROT_WRITE, pages.writable);
    rights.set(ProtFlags::PROT_EXEC, pages.executable);
    rights
}

/// The addresses between the ranges.
fn gaps(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let starts = ranges.iter().map(|range| range.end).scan(0, |from, end| {
        let start = *from;
        *from = end;
        Some(start)
    });
    let last = ranges.last().map_or(0, |range| range.end);
    let between = starts.zip(&ranges).map(|(start, next)| start..next.start);
    between.chain(std::iter::once(last..ADDRESSES_END)).filter(|gap| !gap.is_empty()).collect()
}

/// `struct ptrace_rseq_configuration` (linux/ptrace.h).
#[repr(C)]
#[derive(Default)]
struct RestartableSequences {
    address: u64,
    size: u32,
    signature: u32,
    flags: u32,
    pad: u32,
}

#[expect(unsafe_code, reason = "the kernel fills the structure")]
fn restartable_sequences(tracee: &Tracee) -> nix::Result<RestartableSequences> {
    let mut registered = RestartableSequences::default();
    let size = size_of::<RestartableSequences>();
    // SAFETY: the kernel writes at most `size` bytes to the live structure of numbers.
    let told = unsafe {
        libc::ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tracee.pid().as_raw(), size, &raw mut registered)
    };
    Errno::result(told).map(|_| registered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_ranges_are_all_addresses() {
        let ranges = vec![0x3000..0x4000, 0x1000..0x2000, 0x2000..0x2000, 0x4000..0x5000];
        assert_eq!(gaps(ranges), [0..0x1000, 0x2000..0x3000, 0x5000..ADDRESSES_END]);
    }
}
