//! An open secure channel: commands in, responses out (GlobalPlatform Amendment D 1.2, 6.2.4 to 6.2.7; the same for
//! SCP11 by Amendment F, 4.8).
//!
//! ```text
//! command:  header ‖ Lc ‖ [E(data)] ‖ C-MAC      C-MAC = first bytes of CMAC(S-MAC, chaining ‖ header ‖ Lc ‖ [E(data)])
//! response: [E(data)] ‖ R-MAC ‖ SW               R-MAC = first bytes of CMAC(S-RMAC, chaining ‖ [E(data)] ‖ SW)
//! ```
//!
//! The chaining value is the last command's whole CMAC. A command is counted whether it has data or not. Some clients
//! encrypt the padding of an empty data field, others send none: both are accepted.

use alloc::vec::Vec;

use cardhost_wire::{
    apdu::{CommandApdu, ResponseApdu},
    status::Status,
};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::level::{Protection, SecurityLevel};
use crate::crypto::{AES_BLOCK, AesKey, Block};

const PADDING: u8 = 0x80;
/// In the counter block of a response.
const RESPONSE: u8 = 0x80;
/// Longest data field that a short Lc tells.
const SHORT: usize = 255;

/// The keys of one session.
pub struct SessionKeys {
    /// S-ENC.
    pub enc: AesKey,
    /// S-MAC.
    pub mac: AesKey,
    /// S-RMAC.
    pub rmac: AesKey,
    /// The static key or session key that encrypts keys.
    pub dek: AesKey,
}

/// Bytes of a MAC and of a cryptogram: 8 in S8 mode, 16 in S16 mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// 8.
    S8,
    /// 16.
    S16,
}

impl Mode {
    /// The number of bytes.
    pub const fn length(self) -> usize {
        match self {
            Self::S8 => 8,
            Self::S16 => 16,
        }
    }
}

/// The off-card entity of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffCardEntity {
    /// It has proved keys of this version.
    Authenticated(u8),
    /// Anyone: only the card was authenticated.
    Anonymous,
}

/// An open channel.
pub struct Channel {
    keys: SessionKeys,
    mode: Mode,
    protection: Protection,
    entity: OffCardEntity,
    chaining: Block,
    commands: u64,
}

impl Channel {
    /// A channel whose first command is still to come; the chaining value is what its set-up ended with.
    pub const fn new(
        keys: SessionKeys,
        mode: Mode,
        protection: Protection,
        entity: OffCardEntity,
        chaining: Block,
    ) -> Self {
        Self { keys, mode, protection, entity, chaining, commands: 0 }
    }

    /// The level of a command that came through the channel.
    pub const fn level(&self) -> SecurityLevel<'_> {
        match self.entity {
            OffCardEntity::Authenticated(kvn) => SecurityLevel::authenticated(&self.keys.dek, kvn),
            OffCardEntity::Anonymous => SecurityLevel::anonymous(),
        }
    }

    /// True if commands come in plain: the channel has only authenticated.
    pub const fn takes_plain(&self) -> bool {
        !self.protection.c_mac()
    }

    /// Verifies and decrypts a whole command, its class byte without chaining and channel. Answers its data field.
    ///
    /// # Errors
    /// `6988`: the message is not what the other side sent next; the channel must be closed.
    pub fn unwrap(&mut self, command: &CommandApdu<'_>) -> Result<Zeroizing<Vec<u8>>, Status> {
        if self.takes_plain() {
            return Err(Status::INCORRECT_SECURE_MESSAGING);
        }
        let (data, chaining) = verify(&self.keys.mac, self.mode, &self.chaining, command)?;
        self.chaining = chaining;
        self.commands += 1;
        let mut data = Zeroizing::new(data.to_vec());
        if self.protection.c_decryption() && !data.is_empty() {
            let decrypted = self.keys.enc.decrypt(&self.counter_block(0), &mut data);
            decrypted.ok().and_then(|()| unpad(&mut data)).ok_or(Status::INCORRECT_SECURE_MESSAGING)?;
        }
        Ok(data)
    }

    /// Protects a response. An error has neither data nor MAC.
    pub fn wrap(&self, response: ResponseApdu) -> ResponseApdu {
        let ResponseApdu { mut data, status } = response;
        if !self.protection.r_mac() {
            return ResponseApdu { data, status };
        }
        if !is_protected(status) {
            return status.into();
        }
        if self.protection.r_encryption() && !data.is_empty() {
            pad(&mut data);
            self.keys.enc.encrypt(&self.counter_block(RESPONSE), &mut data).expect("padded to whole blocks");
        }
        let mac = self.keys.rmac.cmac(&[&self.chaining, &data, &status.to_bytes()]);
        data.extend_from_slice(&mac[..self.mode.length()]);
        ResponseApdu { data, status }
    }

    /// The initial vector: the number of the command, encrypted.
    fn counter_block(&self, direction: u8) -> Block {
        let mut block = [0; AES_BLOCK];
        block[8..].copy_from_slice(&self.commands.to_be_bytes());
        block[0] = direction;
        self.keys.enc.encrypt_block(block)
    }
}

/// Verifies a command's MAC. Answers its data field without the MAC, and the next chaining value.
///
/// # Errors
/// `6988`.
pub fn verify<'a>(
    key: &AesKey,
    mode: Mode,
    chaining: &Block,
    command: &CommandApdu<'a>,
) -> Result<(&'a [u8], Block), Status> {
    let data = command.data;
    let at = data.len().checked_sub(mode.length()).ok_or(Status::INCORRECT_SECURE_MESSAGING)?;
    let (data, mac) = data.split_at(at);
    let header = [command.cla, command.ins, command.p1, command.p2];
    let (lc, lc_at) = lc(command);
    let expected = key.cmac(&[chaining, &header, &lc[lc_at..], data]);
    if bool::from(expected[..mac.len()].ct_eq(mac)) {
        Ok((data, expected))
    } else {
        Err(Status::INCORRECT_SECURE_MESSAGING)
    }
}

/// Lc as the whole command would be sent, in the form of its last part; and where in the three bytes it begins.
const fn lc(command: &CommandApdu<'_>) -> ([u8; 3], usize) {
    let length = command.data.len();
    let [.., high, low] = (length as u32).to_be_bytes();
    ([0, high, low], if command.extended || length > SHORT { 0 } else { 2 })
}

/// Warnings are protected like success (Amendment D, 6.2.5).
const fn is_protected(status: Status) -> bool {
    matches!(status.0 >> 8, 0x90 | 0x61 | 0x62 | 0x63)
}

/// One byte and then zeros up to whole blocks (ISO/IEC 9797-1, padding method 2).
fn pad(data: &mut Vec<u8>) {
    data.push(PADDING);
    data.resize(data.len().next_multiple_of(AES_BLOCK), 0);
}

fn unpad(data: &mut Vec<u8>) -> Option<()> {
    let at = data.iter().rposition(|&byte| byte != 0)?;
    let padded = data[at] == PADDING && data.len() - at <= AES_BLOCK;
    data.truncate(at);
    padded.then_some(())
}
