//! What a secure channel protects, and what it proves of the off-card entity (GlobalPlatform Card Specification 2.3.1,
//! 10.6).

use cardhost_wire::status::Status;

use crate::crypto::AesKey;

const C_MAC: u8 = 0x01;
const C_DECRYPTION: u8 = 0x02;
const R_MAC: u8 = 0x10;
const R_ENCRYPTION: u8 = 0x20;

/// Which messages are protected, and how: P1 of EXTERNAL AUTHENTICATE (Amendment D, table 7-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection(u8);

impl Protection {
    /// Everything: commands and responses with MAC and encryption.
    pub const FULL: Self = Self(C_MAC | C_DECRYPTION | R_MAC | R_ENCRYPTION);
    /// Commands and responses with MAC.
    pub const MAC: Self = Self(C_MAC | R_MAC);

    /// Reads P1: encryption only beside the MAC of the same direction, and responses no better than commands.
    pub const fn parse(p1: u8) -> Option<Self> {
        match p1 {
            0x00 | 0x01 | 0x03 | 0x11 | 0x13 | 0x33 => Some(Self(p1)),
            _ => None,
        }
    }

    /// Commands carry a MAC.
    pub const fn c_mac(self) -> bool {
        self.0 & C_MAC != 0
    }

    /// Commands' data are encrypted.
    pub const fn c_decryption(self) -> bool {
        self.0 & C_DECRYPTION != 0
    }

    /// Responses carry a MAC.
    pub const fn r_mac(self) -> bool {
        self.0 & R_MAC != 0
    }

    /// Responses' data are encrypted.
    pub const fn r_encryption(self) -> bool {
        self.0 & R_ENCRYPTION != 0
    }
}

/// The security level that a command came with; only the channel that it came through makes one.
#[derive(Clone, Copy)]
pub struct SecurityLevel<'a> {
    authority: Option<Authority<'a>>,
}

/// Proof that the off-card entity was authenticated by the security domain's keys: what card content management needs.
#[derive(Clone, Copy)]
pub struct Authority<'a> {
    dek: &'a AesKey,
    kvn: u8,
}

impl<'a> SecurityLevel<'a> {
    /// The level of a channel whose off-card entity was authenticated with the keys of this version.
    pub(super) const fn authenticated(dek: &'a AesKey, kvn: u8) -> Self {
        Self { authority: Some(Authority { dek, kvn }) }
    }

    /// The level of a command that anyone can have sent.
    pub(crate) const fn anonymous() -> Self {
        Self { authority: None }
    }

    /// The proof of authentication.
    ///
    /// # Errors
    /// `6982`: nobody was authenticated.
    pub fn authority(&self) -> Result<Authority<'a>, Status> {
        self.authority.ok_or(Status::SECURITY_STATUS_NOT_SATISFIED)
    }
}

impl<'a> Authority<'a> {
    /// The key that keys are encrypted under on their way into the card.
    pub const fn dek(&self) -> &'a AesKey {
        self.dek
    }

    /// Key version number of the keys that opened the channel.
    pub const fn kvn(&self) -> u8 {
        self.kvn
    }
}
