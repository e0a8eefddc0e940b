//! The acts, one for each privileged or forbidden thing.
#![expect(unsafe_code, reason = "breaking the rules is this program's purpose")]

use alloc::{vec, vec::Vec};
use core::{
    arch::asm,
    hint::black_box,
    ptr::{read_volatile, with_exposed_provenance, with_exposed_provenance_mut, write_volatile},
};

use cardhost_boot::{
    entry, fault,
    streams::{self, Stream},
};
use cardhost_wire::frame::MAX_MESSAGE;

use crate::device;

/// What a command's instruction byte tells the guest to do.
#[derive(Clone, Copy)]
#[repr(u8)]
pub enum Act {
    /// Answers the CS selector, two bytes, big-endian.
    CodeSegment = 0x00,
    /// `hlt`.
    Halt = 0x01,
    /// `syscall`.
    Syscall = 0x02,
    /// `mov cr3`.
    MoveCr3 = 0x03,
    /// `wrmsr`.
    Wrmsr = 0x04,
    /// `out` to a port.
    Out = 0x05,
    /// `int3`.
    Int3 = 0x06,
    /// `ud2`.
    Ud2 = 0x07,
    /// A write to its own code.
    WriteText = 0x08,
    /// A jump into the heap.
    ExecuteData = 0x09,
    /// A read of address 0.
    NullRead = 0x0A,
    /// Recursion without end.
    StackOverflow = 0x0B,
    /// A loop without end.
    Loop = 0x0C,
    /// A Rust panic.
    Panic = 0x0D,
    /// A read of its own page tables' place.
    ReadTables = 0x0E,
    /// A read behind the end of memory.
    ReadBeyond = 0x0F,
    /// P1 chooses one of [`device::break_queue`]'s broken queues.
    BreakQueue = 0x10,
    /// Answers without end, as fast as the host takes them.
    Flood = 0x11,
    /// Writes without end to a register that means nothing.
    Exits = 0x12,
    /// A division by zero.
    Divide = 0x13,
}

impl Act {
    const ALL: [Self; 20] = [
        Self::CodeSegment,
        Self::Halt,
        Self::Syscall,
        Self::MoveCr3,
        Self::Wrmsr,
        Self::Out,
        Self::Int3,
        Self::Ud2,
        Self::WriteText,
        Self::ExecuteData,
        Self::NullRead,
        Self::StackOverflow,
        Self::Loop,
        Self::Panic,
        Self::ReadTables,
        Self::ReadBeyond,
        Self::BreakQueue,
        Self::Flood,
        Self::Exits,
        Self::Divide,
    ];

    /// The act of this instruction byte.
    pub fn from_instruction(instruction: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|act| *act as u8 == instruction)
    }

    /// Does it. What comes back is answered to the command.
    pub fn perform(self, stream: Stream, parameter: u8) -> Vec<u8> {
        match self {
            Self::CodeSegment => return entry::code_segment().to_be_bytes().to_vec(),
            Self::WriteText => write_text(),
            Self::ExecuteData => execute_data(),
            Self::NullRead => read(0),
            Self::ReadTables => read(0x1000),
            Self::ReadBeyond => read(cardhost_wire::boot::MEMORY_SIZE),
            Self::StackOverflow => overflow(1),
            Self::Loop => endless(),
            Self::Panic => panic!("a hostile guest panics"),
            Self::BreakQueue => device::break_queue(parameter),
            Self::Flood => flood(stream),
            Self::Exits => device::exits(),
            _ => self.instruction(),
        }
        Vec::new()
    }

    fn instruction(self) {
        // SAFETY: each instruction faults in ring 3, which ends the guest; if one does not, a test says so.
        unsafe {
            match self {
                Self::Halt => asm!("hlt"),
                Self::Syscall => asm!("syscall", out("rcx") _, out("r11") _),
                Self::MoveCr3 => asm!("mov cr3, {}", in(reg) 0u64),
                Self::Wrmsr => asm!("wrmsr", in("ecx") 0xC000_0080u32, in("eax") 1u32, in("edx") 0u32),
                Self::Out => asm!("out 0x80, al", in("al") 0u8),
                Self::Int3 => asm!("int3"),
                Self::Divide => {
                    asm!("div {0:r}", in(reg) 0u64, inout("rax") 1u64 => _, inout("rdx") 0u64 => _)
                }
                _ => asm!("ud2"),
            }
        }
    }
}

fn write_text() {
    let code = with_exposed_provenance_mut::<u8>(write_text as *const () as usize);
    // SAFETY: a fault is the expected end; the byte written is the one that is there.
    unsafe { write_volatile(code, read_volatile(code)) };
}

fn execute_data() {
    let code = black_box(vec![0xC3u8; 16]);
    // SAFETY: the bytes are a `ret`; a fault is the expected end.
    let function: extern "C" fn() = unsafe { core::mem::transmute(code.as_ptr()) };
    function();
}

fn read(address: u64) {
    // SAFETY: a fault is the expected end; nothing is done with the byte.
    black_box(unsafe { read_volatile(with_exposed_provenance::<u8>(black_box(address as usize))) });
}

#[expect(unconditional_recursion, reason = "that is the act")]
fn overflow(depth: u64) {
    let frame = black_box([depth; 64]);
    overflow(frame[0] + 1);
    black_box(frame);
}

fn endless() -> ! {
    loop {
        core::hint::spin_loop();
    }
}

fn flood(stream: Stream) {
    let answer = vec![0x55; MAX_MESSAGE];
    while streams::with(|streams| streams.send(stream, &answer)).is_ok() {}
    fault::end()
}
