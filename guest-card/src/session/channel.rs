//! One logical channel: the selected application, a chain being built up, a response being fetched.

use alloc::vec::Vec;

use cardhost_wire::{
    apdu::{CommandApdu, ResponseApdu},
    port::Protocol,
    status::Status,
};

use super::{chain::Chain, class::Class, response::Pending};
use crate::{
    router::{self, Selected},
    services::Context,
};

const SELECT: u8 = 0xA4;
const GET_RESPONSE: u8 = 0xC0;
/// SELECT by DF name (ISO/IEC 7816-4, table 62).
const BY_DF_NAME: u8 = 0x04;

/// An open logical channel.
pub struct LogicalChannel {
    protocol: Protocol,
    selected: Selected,
    chain: Chain,
    pending: Pending,
}

impl LogicalChannel {
    /// A channel with the protocol's root selected.
    pub fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            selected: router::root(protocol),
            chain: Chain::default(),
            pending: Pending::default(),
        }
    }

    /// Executes one command, or takes it into its chain.
    ///
    /// # Errors
    /// A status word for the terminal.
    pub fn transmit(
        &mut self,
        class: Class,
        command: &CommandApdu<'_>,
        context: &mut Context<'_>,
    ) -> Result<ResponseApdu, Status> {
        if command.ins == GET_RESPONSE && !self.chain.is_open() {
            return self.fetch(command);
        }
        self.pending = Pending::default();
        if class.is_chaining() {
            return self.chain.extend(class.bare(), command).map(|()| Status::SUCCESS.into());
        }
        let data = self.chain.finish(class.bare(), command)?;
        let whole = CommandApdu { cla: class.bare(), data: &data, ..*command };
        self.pending = Pending::new(self.execute(class, &whole, context)?);
        Ok(self.pending.next(command.le))
    }

    fn fetch(&mut self, command: &CommandApdu<'_>) -> Result<ResponseApdu, Status> {
        match (command.p1_p2(), self.pending.is_waiting()) {
            (0, true) => Ok(self.pending.next(command.le)),
            (0, false) => Err(Status::CONDITIONS_NOT_SATISFIED),
            _ => Err(Status::INCORRECT_P1_P2),
        }
    }

    fn execute(
        &mut self,
        class: Class,
        command: &CommandApdu<'_>,
        context: &mut Context<'_>,
    ) -> Result<Vec<u8>, Status> {
        if class.is_interindustry() && command.ins == SELECT && command.p1 == BY_DF_NAME {
            return self.select(command);
        }
        self.selected.execute(command, context)
    }

    /// SELECT by DF name; only the first occurrence of a partial name is offered. A failed SELECT changes nothing.
    fn select(&mut self, command: &CommandApdu<'_>) -> Result<Vec<u8>, Status> {
        let no_fci = match command.p2 {
            0x00 => false,
            0x0C => true,
            0x02 => return Err(Status::NOT_FOUND),
            _ => return Err(Status::INCORRECT_P1_P2),
        };
        let selected = router::resolve(self.protocol, command.data).ok_or(Status::NOT_FOUND)?;
        let fci = selected.select()?;
        self.selected = selected;
        Ok(if no_fci || self.would_need_get_response(command, &fci) { Vec::new() } else { fci })
    }

    /// A SELECT of a partial AID without Le is answered with data or a bare `9000`, never `61xx`.
    fn would_need_get_response(&self, command: &CommandApdu<'_>, fci: &[u8]) -> bool {
        command.le.is_none() && fci.len() > 256
    }
}
