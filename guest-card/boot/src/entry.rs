//! From the first instruction to the program.
#![expect(unsafe_code, reason = "the entry point is assembly")]

use core::arch::{asm, global_asm};

use crate::{entropy, heap, streams};

// SAFETY: the host enters here with a 16-byte aligned stack pointer and the System V argument registers set as
// wire::boot says; `card_main` never returns.
global_asm!(
    ".section .text.boot,\"ax\",@progbits",
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "cld",
    "call card_main",
    "ud2",
    ".text",
);

/// Checks the ring, then sets up heap and device. To be called once, with the host's two arguments.
pub fn set_up(mmio_base: u64, memory_end: u64) {
    heap::set_up(memory_end);
    assert_eq!(code_segment() & 3, 3, "the card runs in ring 3 only");
    entropy::detect();
    streams::set_up(mmio_base);
}

/// The CS selector; its low two bits are the ring.
pub fn code_segment() -> u16 {
    let selector: u16;
    // SAFETY: reads a register.
    unsafe { asm!("mov {:x}, cs", out(reg) selector, options(nomem, nostack, preserves_flags)) };
    selector
}
