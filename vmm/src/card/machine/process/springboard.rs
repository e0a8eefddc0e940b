//! One page with one system call in it, at an address where neither program nor guest has anything: the instructions
//! by which a guest process, run by its tender, gives up everything but the guest's pages and this one.
//!
//! It stays, because no process can unmap the page that it runs from and go on. It is not writable, and every
//! system call that it is used for after the last one kills the guest, as the guest's own would.

use std::{fs, num::NonZeroUsize, ops::Range, ptr::NonNull};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect};

use super::{Asked, ProcessError};
use crate::card::template::PAGE;

/// 4 GiB: behind everything of the guest (`cardhost_wire::boot`) and before everything of a program.
const ADDRESS: NonZeroUsize = NonZeroUsize::new(1 << 32).expect("not zero");
const SIZE: NonZeroUsize = NonZeroUsize::new(PAGE).expect("not zero");
/// `syscall`, then `int3`, which returns to the tender.
const CODE: [u8; 3] = [0x0F, 0x05, 0xCC];

/// What the page holds, as `seccomp(2)` reads it.
#[repr(C)]
struct Contents {
    code: [u8; 16],
    program: libc::sock_fprog,
    filter: [libc::sock_filter; 1],
}

/// The page, mapped for good: every process that is forked from this one has it.
#[derive(Debug)]
pub struct Springboard {
    /// What the kernel has mapped into this process and all forks of it: clock pages and their code.
    kernel: Vec<Range<u64>>,
}

impl Springboard {
    /// Maps the page.
    ///
    /// # Errors
    /// The system refuses it.
    #[expect(unsafe_code, reason = "a mapping at a fixed address, filled before anyone refers to it")]
    pub fn map() -> Result<Self, ProcessError> {
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED_NOREPLACE;
        let (writable, executable) = (ProtFlags::PROT_WRITE, ProtFlags::PROT_READ | ProtFlags::PROT_EXEC);
        // SAFETY: replaces no mapping.
        let page = unsafe { mmap_anonymous(Some(ADDRESS), SIZE, writable, flags) };
        let page: NonNull<Contents> = page.asked("map the springboard")?.cast();
        // SAFETY: the page was mapped above, writable and larger than the contents; nobody else knows of it.
        unsafe { page.write(Contents::at(page)) };
        // SAFETY: no reference into the page is held; from here on it is only read.
        unsafe { mprotect(page.cast(), PAGE, executable) }.asked("protect the springboard")?;
        Ok(Self { kernel: kernel_pages()? })
    }

    /// Address of the system call.
    pub const fn system_call(&self) -> u64 {
        ADDRESS.get() as u64
    }

    /// Address of the program for `seccomp(2)` that kills at every system call.
    pub const fn kill_all(&self) -> u64 {
        self.system_call() + std::mem::offset_of!(Contents, program) as u64
    }

    /// The page's addresses.
    pub const fn range(&self) -> Range<u64> {
        self.system_call()..self.system_call() + PAGE as u64
    }

    /// The kernel's own pages in every process that has this page.
    pub fn kernel_pages(&self) -> &[Range<u64>] {
        &self.kernel
    }
}

impl Contents {
    /// As they are at this address: the program refers to the filter beside it.
    fn at(page: NonNull<Self>) -> Self {
        let mut code = [0; 16];
        code[..CODE.len()].copy_from_slice(&CODE);
        let filter = page.as_ptr().wrapping_byte_add(std::mem::offset_of!(Self, filter));
        let kill = libc::sock_filter {
            code: (libc::BPF_RET | libc::BPF_K) as u16,
            jt: 0,
            jf: 0,
            k: libc::SECCOMP_RET_KILL_PROCESS,
        };
        Self { code, program: libc::sock_fprog { len: 1, filter: filter.cast() }, filter: [kill] }
    }
}

fn kernel_pages() -> Result<Vec<Range<u64>>, ProcessError> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    Ok(maps.lines().filter_map(kernel_range).collect())
}

fn kernel_range(line: &str) -> Option<Range<u64>> {
    let (range, rest) = line.split_once(' ')?;
    let name = rest.rsplit(' ').next()?;
    let is_kernels = name.starts_with("[vdso") || name.starts_with("[vvar") || name == "[uprobes]";
    let (start, end) = range.split_once('-').filter(|_| is_kernels)?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some(number(start)?..number(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_own_pages_are_found() {
        let maps = "7ffd0000-7ffd4000 r--p 00000000 00:00 0                          [vvar]\n\
                    7ffd6000-7ffd8000 r-xp 00000000 00:00 0                          [vdso]\n\
                    7ffe0000-7ffe8000 rw-p 00000000 00:00 0                          [stack]\n\
                    7fff0000-7fff1000 r--p 00000000 00:00 0";
        let found: Vec<_> = maps.lines().filter_map(kernel_range).collect();
        assert_eq!(found, [0x7FFD_0000..0x7FFD_4000, 0x7FFD_6000..0x7FFD_8000]);
    }
}
