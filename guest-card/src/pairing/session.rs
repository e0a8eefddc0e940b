//! An open pairing session: whole commands in, whole responses out, each in a wrapped ENVELOPE (ISO/IEC 7816-4, 11.7.2;
//! GlobalPlatform Amendment D 1.2, 6.2.4 to 6.2.7).

use alloc::vec::Vec;

use cardhost_wire::{
    apdu::{CommandApdu, MalformedApdu, ResponseApdu},
    pairing::ENVELOPE,
    status::Status,
};
use zeroize::Zeroizing;

use super::{Ended, certification::Terminal, kvn::Kvn, set_up::SetUp};
use crate::{scp::messaging::Channel, services::Context};

/// Class byte of an ENVELOPE that GlobalPlatform's secure messaging protects.
const SECURED: u8 = 0x84;

/// A session with a terminal that the card knows.
pub struct Protected {
    channel: Channel,
    stage: Stage,
}

enum Stage {
    /// The authority certified the terminal.
    SetUp(SetUp),
    /// The terminal has this pairing.
    Paired(Kvn),
}

impl Protected {
    /// The session of a set-up.
    pub const fn set_up(channel: Channel, terminal: Terminal) -> Self {
        Self { channel, stage: Stage::SetUp(SetUp::new(terminal)) }
    }

    /// The session of a paired terminal.
    pub const fn paired(channel: Channel, kvn: Kvn) -> Self {
        Self { channel, stage: Stage::Paired(kvn) }
    }

    /// True if losing the session loses what its terminal cannot have again by authenticating.
    pub const fn is_held(&self) -> bool {
        matches!(self.stage, Stage::SetUp(_))
    }

    /// True if the session rests on something that ended.
    pub fn is_over(&self, ended: &Ended) -> bool {
        match &self.stage {
            Stage::SetUp(set_up) => ended.has_terminal(set_up.terminal()),
            Stage::Paired(kvn) => ended.has_pairing(*kvn),
        }
    }

    /// Verifies and decrypts an ENVELOPE. Answers the command in it.
    ///
    /// # Errors
    /// `6988`: it is not what the terminal sent next; the session must end.
    pub fn unwrap(
        &mut self,
        message: Result<CommandApdu<'_>, MalformedApdu>,
    ) -> Result<Zeroizing<Vec<u8>>, Status> {
        match message {
            Ok(command) if is_envelope(&command) => self.channel.unwrap(&command),
            _ => Err(Status::INCORRECT_SECURE_MESSAGING),
        }
    }

    /// Executes a command of a set-up. A paired terminal's are not for the pairing security domain.
    pub fn execute(&mut self, command: &[u8], context: &mut Context<'_>) -> Option<ResponseApdu> {
        let Stage::SetUp(set_up) = &mut self.stage else { return None };
        Some(match self.channel.level().authority() {
            Ok(authority) => set_up.transmit(command, authority, context),
            Err(status) => status.into(),
        })
    }

    /// Protects a whole response. It goes out in one piece, whatever Le says.
    pub fn wrap(&self, response: Vec<u8>) -> Vec<u8> {
        let response = ResponseApdu { data: response, status: Status::SUCCESS };
        self.channel.wrap(response).to_bytes()
    }
}

/// True for the form that a pairing session's commands have.
pub fn is_envelope(command: &CommandApdu<'_>) -> bool {
    (command.cla, command.ins, command.p1_p2(), command.extended) == (SECURED, ENVELOPE, 0, true)
}

/// True for a message that cannot be in plain.
pub fn is_secured(message: &[u8]) -> bool {
    message.first() == Some(&SECURED)
}
