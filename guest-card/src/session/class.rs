//! The class byte (ISO/IEC 7816-4, 5.4.1; GlobalPlatform Card Specification, 11.1.4).

use cardhost_wire::status::Status;

const PROPRIETARY: u8 = 0x80;
const FURTHER: u8 = 0x40;
const CHAINING: u8 = 0x10;
const SECURE_MESSAGING: u8 = 0x0C;
/// Secure messaging that is not ISO/IEC 7816-4's: GlobalPlatform's.
const GLOBAL_PLATFORM: u8 = 0x04;
const CHANNEL: u8 = 0x03;

/// A class byte of the first interindustry form or its proprietary twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class(u8);

impl Class {
    /// Reads a class byte.
    ///
    /// # Errors
    /// `6881` for channels beyond 3, `6882` for ISO/IEC 7816-4's secure messaging, `6E00` for `FF`.
    pub fn parse(cla: u8) -> Result<Self, Status> {
        match cla {
            0xFF => Err(Status::CLASS_NOT_SUPPORTED),
            _ if cla & FURTHER != 0 => Err(Status::LOGICAL_CHANNEL_NOT_SUPPORTED),
            _ if cla & 0x20 != 0 => Err(Status::CLASS_NOT_SUPPORTED),
            _ if !matches!(cla & SECURE_MESSAGING, 0 | GLOBAL_PLATFORM) => {
                Err(Status::SECURE_MESSAGING_NOT_SUPPORTED)
            }
            _ => Ok(Self(cla)),
        }
    }

    /// The logical channel's number, 0 to 3.
    pub const fn channel(self) -> usize {
        (self.0 & CHANNEL) as usize
    }

    /// More commands of this chain follow.
    pub const fn is_chaining(self) -> bool {
        self.0 & CHAINING != 0
    }

    /// False for the proprietary classes from `80` on.
    pub const fn is_interindustry(self) -> bool {
        self.0 & PROPRIETARY == 0
    }

    /// The command is protected by a secure channel.
    pub const fn is_secured(self) -> bool {
        self.0 & SECURE_MESSAGING != 0
    }

    /// The class byte without chaining and channel: as the whole command's, and as its C-MAC covers it.
    pub const fn of_whole(self) -> u8 {
        self.0 & (PROPRIETARY | SECURE_MESSAGING)
    }

    /// The class byte as applications see it: `00` or `80`.
    pub const fn bare(self) -> u8 {
        self.0 & PROPRIETARY
    }
}
