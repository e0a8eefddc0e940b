//! Status words SW1-SW2 (ISO/IEC 7816-4, 5.6).

use core::fmt;

/// A status word. Unknown values survive a round trip.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(pub u16);

impl Status {
    /// Normal processing.
    pub const SUCCESS: Self = Self(0x9000);
    /// Warning: non-volatile memory unchanged, no information given.
    pub const NO_INFORMATION: Self = Self(0x6200);
    /// Non-volatile memory unchanged: verification failed, no counter given.
    pub const VERIFICATION_FAILED: Self = Self(0x6300);
    /// Non-volatile memory could not be written.
    pub const MEMORY_FAILURE: Self = Self(0x6581);
    /// Wrong length.
    pub const WRONG_LENGTH: Self = Self(0x6700);
    /// Logical channel not supported.
    pub const LOGICAL_CHANNEL_NOT_SUPPORTED: Self = Self(0x6881);
    /// Secure messaging not supported.
    pub const SECURE_MESSAGING_NOT_SUPPORTED: Self = Self(0x6882);
    /// The last command of a chain was expected.
    pub const LAST_COMMAND_EXPECTED: Self = Self(0x6883);
    /// Command chaining not supported.
    pub const CHAINING_NOT_SUPPORTED: Self = Self(0x6884);
    /// Security status not satisfied.
    pub const SECURITY_STATUS_NOT_SATISFIED: Self = Self(0x6982);
    /// Authentication method blocked.
    pub const AUTHENTICATION_BLOCKED: Self = Self(0x6983);
    /// Reference data not usable.
    pub const REFERENCE_DATA_NOT_USABLE: Self = Self(0x6984);
    /// Conditions of use not satisfied.
    pub const CONDITIONS_NOT_SATISFIED: Self = Self(0x6985);
    /// Command incompatible with the structure of the file.
    pub const INCOMPATIBLE_STRUCTURE: Self = Self(0x6981);
    /// Command not allowed.
    pub const COMMAND_NOT_ALLOWED: Self = Self(0x6986);
    /// Incorrect secure messaging data objects.
    pub const INCORRECT_SECURE_MESSAGING: Self = Self(0x6988);
    /// Incorrect parameters in the command data field.
    pub const WRONG_DATA: Self = Self(0x6A80);
    /// Function not supported.
    pub const FUNCTION_NOT_SUPPORTED: Self = Self(0x6A81);
    /// File or application not found.
    pub const NOT_FOUND: Self = Self(0x6A82);
    /// Record not found.
    pub const RECORD_NOT_FOUND: Self = Self(0x6A83);
    /// Not enough memory space.
    pub const NOT_ENOUGH_MEMORY: Self = Self(0x6A84);
    /// Incorrect parameters P1-P2.
    pub const INCORRECT_P1_P2: Self = Self(0x6A86);
    /// Referenced data not found.
    pub const REFERENCED_DATA_NOT_FOUND: Self = Self(0x6A88);
    /// Wrong parameters P1-P2: an offset outside of the file.
    pub const WRONG_PARAMETERS: Self = Self(0x6B00);
    /// Instruction code not supported or invalid.
    pub const INSTRUCTION_NOT_SUPPORTED: Self = Self(0x6D00);
    /// Class not supported.
    pub const CLASS_NOT_SUPPORTED: Self = Self(0x6E00);
    /// No precise diagnosis; also the bridge's answer when the host cannot be reached in time.
    pub const UNSPECIFIED: Self = Self(0x6F00);

    /// `63Cx`: verification failed, `retries` (at most 15 are shown) remain.
    pub const fn retries_remaining(retries: u8) -> Self {
        Self(0x63C0 | if retries > 15 { 15 } else { retries as u16 })
    }

    /// `61xx`: `remaining` bytes still wait; 0 stands for 256 or more.
    pub const fn more_data(remaining: usize) -> Self {
        Self(0x6100 | if remaining > 255 { 0 } else { remaining as u16 })
    }

    /// `6Cxx`: wrong Le, `exact` is the length available.
    pub const fn exact_length(exact: u8) -> Self {
        Self(0x6C00 | exact as u16)
    }

    /// SW1-SW2 as sent.
    pub const fn to_bytes(self) -> [u8; 2] {
        self.0.to_be_bytes()
    }

    /// True for `9000` and `61xx`.
    pub const fn is_success(self) -> bool {
        self.0 == 0x9000 || self.0 >> 8 == 0x61
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Status({:04X})", self.0)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04X}", self.0)
    }
}
