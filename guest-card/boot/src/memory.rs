//! The memory functions that the compiler calls, by string instructions: short, and fast where the processor has
//! FSRM or ERMS.
#![expect(unsafe_code, reason = "symbols of the C ABI, in assembly")]

use core::arch::global_asm;

// SAFETY (of every symbol below): the C standard's contract of the function is the caller's; only registers that
// the System V ABI lets a callee change are changed, and the direction flag is left clear.
global_asm!(
    ".section .text.memcpy,\"ax\",@progbits",
    ".globl memcpy",
    "memcpy:",
    "mov rax, rdi",
    "mov rcx, rdx",
    "rep movsb",
    "ret",
    // Backwards where the destination lies behind the start of an overlapping source.
    ".section .text.memmove,\"ax\",@progbits",
    ".globl memmove",
    "memmove:",
    "mov rax, rdi",
    "mov rcx, rdx",
    "mov r8, rdi",
    "sub r8, rsi",
    "cmp r8, rdx",
    "jb 2f",
    "rep movsb",
    "ret",
    "2: lea rdi, [rdi + rdx - 1]",
    "lea rsi, [rsi + rdx - 1]",
    "std",
    "rep movsb",
    "cld",
    "ret",
    ".section .text.memset,\"ax\",@progbits",
    ".globl memset",
    "memset:",
    "mov r8, rdi",
    "mov eax, esi",
    "mov rcx, rdx",
    "rep stosb",
    "mov rax, r8",
    "ret",
    ".section .text.memcmp,\"ax\",@progbits",
    ".globl memcmp",
    ".globl bcmp",
    "memcmp:",
    "bcmp:",
    "xor eax, eax",
    "test rdx, rdx",
    "je 4f",
    "3: movzx eax, byte ptr [rdi]",
    "movzx ecx, byte ptr [rsi]",
    "sub eax, ecx",
    "jne 4f",
    "inc rdi",
    "inc rsi",
    "dec rdx",
    "jne 3b",
    "4: ret",
    ".text",
);

/// Named by the precompiled `core`; nothing unwinds, so nothing calls it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// Named by the precompiled `core`; nothing unwinds, so nothing calls it.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    crate::fault::end()
}
