//! The guest's registers, general and extended (x87, SSE, AVX), by ptrace(2).

use std::ffi::c_void;

use cardhost_wire::boot::{HEAP_END, MMIO_BASE, STACK_TOP};
use nix::errno::Errno;

use super::{Asked, ProcessError, tracee::Tracee};

/// Note type of the XSAVE area (elf.h).
const NT_X86_XSTATE: usize = 0x202;
/// Longer than any processor's area without dynamically enabled features.
const LONGEST_AREA: usize = 16 * 1024;
// Of the area (Intel SDM volume 1, 13.4): two control registers, and the components that are not in their initial
// state.
const FCW: usize = 0;
const MXCSR: usize = 24;
const XSTATE_BV: usize = 512;
const X87_AND_SSE: u8 = 0b11;
/// After reset as the System V ABI has it: all exceptions masked.
const INITIAL_FCW: u16 = 0x37F;
const INITIAL_MXCSR: u32 = 0x1F80;
/// Bit 1 is always set; interrupts on, as for every process.
const RFLAGS: u64 = 0x202;
/// No system call is under way that the kernel would restart.
const NO_SYSTEM_CALL: u64 = u64::MAX;

/// Where a guest begins or goes on.
pub enum Registers {
    /// Before the first instruction of an image, which is here (`cardhost_wire::boot`).
    Entry(u64),
    /// As another guest of the image stood.
    Saved {
        /// The general ones.
        general: Box<libc::user_regs_struct>,
        /// The XSAVE area.
        extended: Vec<u8>,
    },
}

impl Registers {
    /// Those of a stopped guest, which goes on with `general`.
    pub fn save(general: libc::user_regs_struct, tracee: &Tracee) -> Result<Self, ProcessError> {
        let extended = extended(tracee).asked("PTRACE_GETREGSET")?;
        Ok(Self::Saved { general: Box::new(general), extended })
    }

    /// Sets the extended registers and returns the general ones, which are set when the guest goes on.
    pub fn restore(&self, tracee: &Tracee) -> Result<libc::user_regs_struct, ProcessError> {
        match self {
            Self::Entry(entry) => {
                let mut area = extended(tracee).asked("PTRACE_GETREGSET")?;
                reset(&mut area);
                set_extended(tracee, &mut area).asked("PTRACE_SETREGSET")?;
                Ok(at_entry(*entry, &tracee.general().asked("PTRACE_GETREGS")?))
            }
            Self::Saved { general, extended } => {
                set_extended(tracee, &mut extended.clone()).asked("PTRACE_SETREGSET")?;
                Ok(**general)
            }
        }
    }
}

/// The general register with this number in instructions.
pub fn general(registers: &mut libc::user_regs_struct, number: u8) -> &mut u64 {
    match number {
        0 => &mut registers.rax,
        1 => &mut registers.rcx,
        2 => &mut registers.rdx,
        3 => &mut registers.rbx,
        4 => &mut registers.rsp,
        5 => &mut registers.rbp,
        6 => &mut registers.rsi,
        7 => &mut registers.rdi,
        8 => &mut registers.r8,
        9 => &mut registers.r9,
        10 => &mut registers.r10,
        11 => &mut registers.r11,
        12 => &mut registers.r12,
        13 => &mut registers.r13,
        14 => &mut registers.r14,
        _ => &mut registers.r15,
    }
}

/// The segments are the process's; the rest holds nothing of the program that it was.
const fn at_entry(entry: u64, process: &libc::user_regs_struct) -> libc::user_regs_struct {
    libc::user_regs_struct {
        r15: 0,
        r14: 0,
        r13: 0,
        r12: 0,
        rbp: 0,
        rbx: 0,
        r11: 0,
        r10: 0,
        r9: 0,
        r8: 0,
        rax: 0,
        rcx: 0,
        rdx: 0,
        rsi: HEAP_END,
        rdi: MMIO_BASE,
        orig_rax: NO_SYSTEM_CALL,
        rip: entry,
        eflags: RFLAGS,
        rsp: STACK_TOP,
        fs_base: 0,
        gs_base: 0,
        ..*process
    }
}

/// Every component in its initial state.
fn reset(area: &mut [u8]) {
    area.fill(0);
    area[FCW..FCW + 2].copy_from_slice(&INITIAL_FCW.to_le_bytes());
    area[MXCSR..MXCSR + 4].copy_from_slice(&INITIAL_MXCSR.to_le_bytes());
    area[XSTATE_BV] = X87_AND_SSE;
}

#[expect(unsafe_code, reason = "the kernel fills the area")]
fn extended(tracee: &Tracee) -> Result<Vec<u8>, Errno> {
    let mut area = vec![0; LONGEST_AREA];
    let mut vector = libc::iovec { iov_base: area.as_mut_ptr().cast(), iov_len: area.len() };
    // SAFETY: the kernel writes at most `iov_len` bytes of the live area, and how many it wrote into the vector.
    let told = unsafe {
        libc::ptrace(libc::PTRACE_GETREGSET, tracee.pid().as_raw(), NT_X86_XSTATE, &raw mut vector)
    };
    Errno::result(told)?;
    area.truncate(vector.iov_len);
    if area.len() > XSTATE_BV { Ok(area) } else { Err(Errno::ENODEV) }
}

#[expect(unsafe_code, reason = "the kernel reads the area")]
fn set_extended(tracee: &Tracee, area: &mut [u8]) -> Result<(), Errno> {
    let mut vector = libc::iovec { iov_base: area.as_mut_ptr().cast::<c_void>(), iov_len: area.len() };
    // SAFETY: the kernel reads `iov_len` bytes of the live area.
    let set = unsafe {
        libc::ptrace(libc::PTRACE_SETREGSET, tracee.pid().as_raw(), NT_X86_XSTATE, &raw mut vector)
    };
    Errno::result(set).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_a_register_of_its_own() {
        let mut registers = at_entry(0, &at_entry_of_nothing());
        (0..16).for_each(|number| *general(&mut registers, number) = number.into());
        (0..16).for_each(|number| assert_eq!(*general(&mut registers, number), u64::from(number)));
    }

    #[expect(unsafe_code, reason = "a structure of numbers")]
    fn at_entry_of_nothing() -> libc::user_regs_struct {
        // SAFETY: all of its fields are numbers.
        unsafe { std::mem::zeroed() }
    }
}
