//! What lies between a stream of APDUs and an application: logical channels, command chaining, GET RESPONSE and Le
//! (ISO/IEC 7816-4, 5.3, 5.4 and 11). One session per communication protocol.

mod chain;
mod channel;
mod class;
mod response;

use alloc::vec::Vec;

use cardhost_wire::{
    apdu::{CommandApdu, ResponseApdu},
    port::Protocol,
    status::Status,
};

use crate::services::Context;
use channel::LogicalChannel;
use class::Class;

/// Logical channels per protocol, the basic channel included.
const CHANNELS: usize = 4;
const MANAGE_CHANNEL: u8 = 0x70;

/// The state of one communication protocol from its reset on.
pub struct Session {
    protocol: Protocol,
    channels: [Option<LogicalChannel>; CHANNELS],
}

impl Session {
    /// After a reset: only the basic channel is open, with the protocol's root selected.
    pub fn new(protocol: Protocol) -> Self {
        Self { protocol, channels: [Some(LogicalChannel::new(protocol)), None, None, None] }
    }

    /// Executes one command APDU. Always answers.
    pub fn transmit(&mut self, command: &[u8], context: &mut Context<'_>) -> Vec<u8> {
        let answer = match CommandApdu::parse(command) {
            Ok(command) => self.execute(&command, context),
            Err(_) => Err(Status::WRONG_LENGTH),
        };
        answer.unwrap_or_else(ResponseApdu::from).to_bytes()
    }

    fn execute(
        &mut self,
        command: &CommandApdu<'_>,
        context: &mut Context<'_>,
    ) -> Result<ResponseApdu, Status> {
        let class = Class::parse(command.cla)?;
        if command.ins == MANAGE_CHANNEL && class.is_interindustry() {
            self.open(class.channel())?;
            return self.manage_channel(command);
        }
        self.open(class.channel())?.transmit(class, command, context)
    }

    fn open(&mut self, number: usize) -> Result<&mut LogicalChannel, Status> {
        self.channels[number].as_mut().ok_or(Status::LOGICAL_CHANNEL_NOT_SUPPORTED)
    }

    /// MANAGE CHANNEL (ISO/IEC 7816-4, 11.1.2).
    fn manage_channel(&mut self, command: &CommandApdu<'_>) -> Result<ResponseApdu, Status> {
        match (command.p1, command.p2) {
            (0x00, 0) => self.open_any(),
            (0x00, number @ 1..=3) => self.open_at(number).map(|()| Status::SUCCESS.into()),
            (0x80, number @ 1..=3) => self.close(number),
            _ => Err(Status::INCORRECT_P1_P2),
        }
    }

    fn open_any(&mut self) -> Result<ResponseApdu, Status> {
        let free = (1..=3).find(|number| self.channels[usize::from(*number)].is_none());
        let number = free.ok_or(Status::FUNCTION_NOT_SUPPORTED)?;
        self.open_at(number)?;
        Ok(ResponseApdu { data: Vec::from([number]), status: Status::SUCCESS })
    }

    fn open_at(&mut self, number: u8) -> Result<(), Status> {
        match &mut self.channels[usize::from(number)] {
            Some(_) => Err(Status::CONDITIONS_NOT_SATISFIED),
            free => {
                *free = Some(LogicalChannel::new(self.protocol));
                Ok(())
            }
        }
    }

    fn close(&mut self, number: u8) -> Result<ResponseApdu, Status> {
        match self.channels[usize::from(number)].take() {
            Some(_) => Ok(Status::SUCCESS.into()),
            None => Err(Status::LOGICAL_CHANNEL_NOT_SUPPORTED),
        }
    }
}
