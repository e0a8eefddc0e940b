//! The instructions by which a guest reaches its device: 32-bit moves between memory and a register, or of a constant
//! to memory, as the compiler makes them of volatile accesses (Intel SDM volume 2, 2.1 and MOV).
//!
//! The address is the one that faulted, so of the operand only the length matters.

/// Longest instruction (Intel SDM volume 2, 2.3.11), bytes.
pub const LONGEST: usize = 15;

const REX: u8 = 0x40;
const REX_W: u8 = 1 << 3;
const REX_R: u8 = 1 << 2;
const STORE: u8 = 0x89;
const LOAD: u8 = 0x8B;
const STORE_IMMEDIATE: u8 = 0xC7;
const IMMEDIATE: usize = 4;

/// What the instruction moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Memory to register.
    Load {
        /// Number of the register, 0 to 15, as in the instruction.
        register: u8,
    },
    /// Register to memory.
    Store {
        /// Number of the register.
        register: u8,
    },
    /// Constant to memory.
    StoreImmediate {
        /// The constant.
        value: u32,
    },
}

/// A decoded access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// What it moves.
    pub kind: Kind,
    /// Bytes of the instruction.
    pub length: u64,
}

impl Access {
    /// Decodes the instruction at the beginning of `code`; `None` if it is none of the three.
    pub fn decode(code: &[u8; LONGEST]) -> Option<Self> {
        let rex = if code[0] & 0xF0 == REX { code[0] } else { 0 };
        if rex & REX_W != 0 {
            return None;
        }
        let opcode = usize::from(rex != 0);
        let modrm = code[opcode + 1];
        let register = modrm >> 3 & 7 | if rex & REX_R != 0 { 8 } else { 0 };
        let operands = opcode + 1 + operand_length(modrm, code[opcode + 2])?;
        let (kind, length) = match code[opcode] {
            LOAD => (Kind::Load { register }, operands),
            STORE => (Kind::Store { register }, operands),
            STORE_IMMEDIATE if register & 7 == 0 => {
                let value = code[operands..].first_chunk::<IMMEDIATE>()?;
                (Kind::StoreImmediate { value: u32::from_le_bytes(*value) }, operands + IMMEDIATE)
            }
            _ => return None,
        };
        Some(Self { kind, length: length as u64 })
    }
}

/// Bytes of ModR/M, SIB and displacement (Intel SDM volume 2, tables 2-2 and 2-3); `None` for a register operand.
const fn operand_length(modrm: u8, sib: u8) -> Option<usize> {
    let (mode, base) = (modrm >> 6, modrm & 7);
    let with_sib = base == 4;
    let displacement = match mode {
        0 if base == 5 || with_sib && sib & 7 == 5 => 4,
        0 => 0,
        1 => 1,
        2 => 4,
        _ => return None,
    };
    Some(1 + with_sib as usize + displacement)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(instruction: &[u8]) -> Option<Access> {
        let mut code = [0x90; LONGEST];
        code[..instruction.len()].copy_from_slice(instruction);
        let access = Access::decode(&code)?;
        assert_eq!(access.length, instruction.len() as u64, "{instruction:02x?}");
        Some(access)
    }

    /// As an assembler writes them.
    #[test]
    fn moves_of_every_addressing_form_are_decoded() {
        let kinds: [(&[u8], Kind); 11] = [
            (&[0x89, 0x08], Kind::Store { register: 1 }), // mov [rax], ecx
            (&[0x89, 0x48, 0x50], Kind::Store { register: 1 }), // mov [rax+50h], ecx
            (&[0x44, 0x89, 0x90, 0x80, 0, 0, 0], Kind::Store { register: 10 }), // mov [rax+80h], r10d
            (&[0x41, 0x89, 0x7C, 0x24, 0x30], Kind::Store { register: 7 }), // mov [r12+30h], edi
            (&[0x89, 0x04, 0x25, 0, 0, 0, 0xD0], Kind::Store { register: 0 }), // mov [0D0000000h], eax
            (&[0x89, 0x34, 0x0A], Kind::Store { register: 6 }), // mov [rdx+rcx], esi
            (&[0x8B, 0x43, 0x70], Kind::Load { register: 0 }), // mov eax, [rbx+70h]
            (&[0x45, 0x8B, 0x7D, 0x10], Kind::Load { register: 15 }), // mov r15d, [r13+10h]
            (&[0x8B, 0x0D, 1, 2, 3, 4], Kind::Load { register: 1 }), // mov ecx, [rip+4030201h]
            (&[0xC7, 0x40, 0x50, 1, 0, 0, 0], Kind::StoreImmediate { value: 1 }), // mov dword [rax+50h], 1
            (&[0x41, 0xC7, 0x00, 0, 0, 0, 0x80], Kind::StoreImmediate { value: 1 << 31 }), // mov dword [r8], 80000000h
        ];
        for (instruction, kind) in kinds {
            assert_eq!(decode(instruction).map(|access| access.kind), Some(kind), "{instruction:02x?}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for instruction in [
            &[0x48, 0x89, 0x08][..],         // 64 bits
            &[0x66, 0x89, 0x08],             // 16 bits
            &[0x88, 0x08],                   // 8 bits
            &[0x89, 0xC8],                   // between registers
            &[0xC7, 0x48, 0x50, 1, 0, 0, 0], // no such instruction
            &[0x01, 0x08],                   // add
            &[0xF0, 0x89, 0x08],             // a prefix
            &[0x0F, 0x11, 0x00],             // movups
        ] {
            assert_eq!(decode(instruction), None, "{instruction:02x?}");
        }
    }

    proptest::proptest! {
        /// Whatever the bytes, the length stays within them.
        #[test]
        fn no_bytes_are_decoded_beyond_their_end(code: [u8; LONGEST]) {
            if let Some(access) = Access::decode(&code) {
                proptest::prop_assert!(access.length as usize <= LONGEST);
            }
        }
    }
}
