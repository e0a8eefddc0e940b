//! Secure channels of GlobalPlatform: SCP03 and SCP11. One for each logical channel; the selected application's
//! security domain lends its keys.
//!
//! ```text
//! Closed ─┬─ INITIALIZE UPDATE ──────────────▶ Initiated ── EXTERNAL AUTHENTICATE ─▶ Open
//!         ├─ PERFORM SECURITY OPERATION ─────▶ Certified ── MUTUAL AUTHENTICATE ───▶ Open
//!         └─ INTERNAL AUTHENTICATE ─────────────────────────────────────────────────▶ Open
//! Open ─── a bad MAC · a command in plain · another set-up · SELECT · reset ─▶ Closed
//! ```

pub mod certificate;
mod chain;
mod level;
pub mod messaging;
pub mod scp03;
pub mod scp11;
mod set_up;

use alloc::{boxed::Box, vec::Vec};

use cardhost_wire::{
    apdu::{CommandApdu, ResponseApdu},
    status::Status,
};
use zeroize::Zeroizing;

use chain::Chain;
pub use level::{Authority, SecurityLevel};
use messaging::Channel;
use scp03::Initiated;
pub use set_up::{Invoker, SetUp};

/// The secure channel of one logical channel.
#[derive(Default)]
pub enum SecureChannel {
    /// None.
    #[default]
    Closed,
    /// INITIALIZE UPDATE was answered.
    Initiated(Box<Initiated>),
    /// Certificates have come.
    Certified(Box<Chain>),
    /// In use.
    Open(Box<Channel>),
}

impl SecureChannel {
    /// True if losing it loses nothing.
    pub const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }

    /// True while EXTERNAL AUTHENTICATE is awaited.
    pub const fn is_initiated(&self) -> bool {
        matches!(self, Self::Initiated(_))
    }

    /// Ends it.
    pub fn close(&mut self) {
        *self = Self::Closed;
    }

    /// EXTERNAL AUTHENTICATE.
    ///
    /// # Errors
    /// `6985` without INITIALIZE UPDATE before it; see [`Initiated::external_authenticate`]. The channel is closed
    /// then.
    pub fn external_authenticate(&mut self, command: &CommandApdu<'_>) -> Result<(), Status> {
        let Self::Initiated(initiated) = core::mem::take(self) else {
            return Err(Status::CONDITIONS_NOT_SATISFIED);
        };
        *self = Self::Open(Box::new(initiated.external_authenticate(command)?));
        Ok(())
    }

    /// Verifies and decrypts a command of this channel. Answers its data field.
    ///
    /// # Errors
    /// `6982`: no channel is open; `6988`: the message is not authentic, and the channel must be closed.
    pub fn unwrap(&mut self, command: &CommandApdu<'_>) -> Result<Zeroizing<Vec<u8>>, Status> {
        match self {
            Self::Open(channel) => channel.unwrap(command),
            _ => Err(Status::SECURITY_STATUS_NOT_SATISFIED),
        }
    }

    /// Protects a response to a command of this channel.
    pub fn wrap(&self, response: ResponseApdu) -> ResponseApdu {
        match self {
            Self::Open(channel) => channel.wrap(response),
            _ => response,
        }
    }

    /// True while a command in plain cannot be from the other side of the channel.
    pub const fn protects(&self) -> bool {
        match self {
            Self::Open(channel) => !channel.takes_plain(),
            _ => false,
        }
    }

    /// The level of a command that was unwrapped, or that came in plain where the channel takes it.
    pub const fn level(&self) -> SecurityLevel<'_> {
        match self {
            Self::Open(channel) => channel.level(),
            _ => SecurityLevel::anonymous(),
        }
    }
}

#[cfg(test)]
mod tests;
