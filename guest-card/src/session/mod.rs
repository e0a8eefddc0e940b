//! What lies between a stream of APDUs and an application: logical channels, command chaining, GET RESPONSE and Le
//! (ISO/IEC 7816-4, 5.3, 5.4 and 11). One session per communication protocol.
//!
//! ```text
//! bytes ─▶ CommandApdu ─▶ class ─▶ channel open? ─▶ GET RESPONSE ─▶ next piece of the pending response
//!                                        └─▶ chain ─▶ MANAGE CHANNEL · SELECT · channel ─▶ pending ─▶ by Le
//!                                                                     (secure channel, application)
//! ```
//!
//! A protocol has one chain and one pending response, whatever the number of its channels: what a terminal can make
//! the card hold stays small.

mod chain;
mod channel;
mod class;
mod response;
mod tunnel;

use alloc::vec::Vec;

use cardhost_wire::{
    apdu::{CommandApdu, MalformedApdu, ResponseApdu},
    port::Protocol,
    protocols::{Container, ProtocolPairing},
    status::Status,
};

use crate::services::Context;
use chain::Chain;
use channel::Channel;
use class::Class;
use response::Pending;
pub use tunnel::Tunnel;

/// Logical channels per protocol, the basic channel included.
const CHANNELS: usize = 4;
const MANAGE_CHANNEL: u8 = 0x70;
const SELECT: u8 = 0xA4;
const GET_RESPONSE: u8 = 0xC0;
/// SELECT by DF name (ISO/IEC 7816-4, table 62).
const BY_DF_NAME: u8 = 0x04;
/// SELECT by file identifier (ibid.).
const BY_FILE_ID: u8 = 0x00;

/// A message that should be a command APDU.
type Parsed<'a> = Result<CommandApdu<'a>, MalformedApdu>;

/// The state of the applications on one communication protocol, from its reset on.
pub struct Session {
    protocol: Protocol,
    channels: [Option<Channel>; CHANNELS],
    chain: Chain,
    pending: Pending,
}

impl Session {
    /// After a reset: only the basic channel is open, with the root of the protocol's container selected.
    pub fn new(protocol: Protocol, pairing: &ProtocolPairing) -> Self {
        let channels = [Some(Channel::root(pairing.container(protocol))), None, None, None];
        Self { protocol, channels, chain: Chain::default(), pending: Pending::default() }
    }

    /// True if a terminal could not tell this session from one after a reset.
    pub fn is_initial(&self, pairing: &ProtocolPairing) -> bool {
        let [basic, others @ ..] = &self.channels;
        let container = pairing.container(self.protocol);
        basic.as_ref().is_some_and(|channel| channel.is_initial(container))
            && others.iter().all(Option::is_none)
            && self.chain.is_idle()
            && self.pending.is_idle()
    }

    /// Executes one command APDU. Always answers.
    pub fn transmit(&mut self, command: &[u8], context: &mut Context<'_>) -> Vec<u8> {
        self.respond(CommandApdu::parse(command), context)
    }

    /// The same of a command that was read already.
    fn respond(&mut self, command: Parsed<'_>, context: &mut Context<'_>) -> Vec<u8> {
        let answer = match command {
            Ok(command) => self.receive(&command, context),
            Err(_) => Err(Status::WRONG_LENGTH),
        };
        answer.unwrap_or_else(ResponseApdu::from).to_bytes()
    }

    /// Another application than these is selected on the basic channel.
    fn leave(&mut self, pairing: &ProtocolPairing) {
        self.channels[0] = Some(Channel::root(pairing.container(self.protocol)));
        self.chain = Chain::default();
    }

    /// True if a secure channel is open, or being set up, on the basic channel.
    fn has_secure_channel(&self) -> bool {
        self.channels[0].as_ref().is_some_and(Channel::has_secure_channel)
    }

    fn receive(
        &mut self,
        command: &CommandApdu<'_>,
        context: &mut Context<'_>,
    ) -> Result<ResponseApdu, Status> {
        self.receive_for(command, |session, class, whole| session.execute(class, whole, context))
    }

    /// Receives a command for whoever executes it once it is whole.
    fn receive_for(
        &mut self,
        command: &CommandApdu<'_>,
        execute: impl FnOnce(&mut Self, Class, &CommandApdu<'_>) -> Result<ResponseApdu, Status>,
    ) -> Result<ResponseApdu, Status> {
        let class = Class::parse(command.cla)?;
        self.channel(class.channel())?;
        if command.ins == GET_RESPONSE {
            return self.pending.fetch(class.channel(), command);
        }
        self.pending = Pending::default();
        if class.is_chaining() {
            return self.chain.extend(class, command).map(|()| Status::SUCCESS.into());
        }
        let data = self.chain.finish(class, command)?;
        let whole = CommandApdu { cla: class.of_whole(), data: &data, ..*command };
        let response = execute(self, class, &whole)?;
        Ok(self.answer(class.channel(), response, command.le))
    }

    /// The beginning of a response, by Le.
    fn answer(&mut self, channel: usize, response: ResponseApdu, le: Option<u32>) -> ResponseApdu {
        self.pending = Pending::new(channel, response);
        self.pending.next(le)
    }

    fn execute(
        &mut self,
        class: Class,
        command: &CommandApdu<'_>,
        context: &mut Context<'_>,
    ) -> Result<ResponseApdu, Status> {
        let is_plain_interindustry = class.is_interindustry() && !class.is_secured();
        match (command.ins, command.p1) {
            (MANAGE_CHANNEL, _) if is_plain_interindustry => {
                self.manage_channel(class.channel(), command, context.pairing).map(success)
            }
            (SELECT, BY_DF_NAME) if is_plain_interindustry => {
                self.select(class.channel(), command, context).map(success)
            }
            (SELECT, BY_FILE_ID) if is_plain_interindustry && names_shared_file(command, context) => {
                let container = context.pairing.container(self.protocol);
                self.channel(class.channel())?.select_file(container, command, context).map(success)
            }
            _ => self.channel(class.channel())?.execute(class, command, context),
        }
    }

    fn channel(&mut self, number: usize) -> Result<&mut Channel, Status> {
        let open = self.channels.get_mut(number).and_then(Option::as_mut);
        open.ok_or(Status::LOGICAL_CHANNEL_NOT_SUPPORTED)
    }

    /// SELECT by DF name (ISO/IEC 7816-4, 11.2.2). Only the first occurrence of a partial name is offered. Its data
    /// are short enough never to need GET RESPONSE where there is no Le. A failed SELECT changes nothing.
    fn select(
        &mut self,
        number: usize,
        command: &CommandApdu<'_>,
        context: &Context<'_>,
    ) -> Result<Vec<u8>, Status> {
        let container = context.pairing.container(self.protocol);
        let channel = self.channel(number)?;
        match command.p2 {
            0x00 => channel.select(container, command.data, context),
            // File control parameters are wanted (ETSI TS 102 221, table 11.2): the UICC's applications have no others.
            0x04 if container == Container::Uicc => channel.select(container, command.data, context),
            0x0C => channel.select(container, command.data, context).map(|_| Vec::new()),
            0x02 => Err(Status::NOT_FOUND),
            _ => Err(Status::INCORRECT_P1_P2),
        }
    }

    /// MANAGE CHANNEL (ISO/IEC 7816-4, 11.1.2), sent on the channel `from`.
    fn manage_channel(
        &mut self,
        from: usize,
        command: &CommandApdu<'_>,
        pairing: &ProtocolPairing,
    ) -> Result<Vec<u8>, Status> {
        let root = pairing.container(self.protocol);
        match (command.p1, command.p2) {
            (0x00, 0) => self.open_any(from, root),
            (0x00, number @ 1..=3) => self.open_at(from, number, root).map(|()| Vec::new()),
            (0x80, number @ 1..=3) => self.close(number).map(|()| Vec::new()),
            _ => Err(Status::INCORRECT_P1_P2),
        }
    }

    fn open_any(&mut self, from: usize, root: Container) -> Result<Vec<u8>, Status> {
        let free = (1..=3).find(|number| self.channels[usize::from(*number)].is_none());
        let number = free.ok_or(Status::FUNCTION_NOT_SUPPORTED)?;
        self.open_at(from, number, root)?;
        Ok(Vec::from([number]))
    }

    /// From the basic channel the new one begins with the root, from another with the same application.
    fn open_at(&mut self, from: usize, number: u8, root: Container) -> Result<(), Status> {
        if self.channels[usize::from(number)].is_some() {
            return Err(Status::CONDITIONS_NOT_SATISFIED);
        }
        let channel = match from {
            0 => Channel::root(root),
            _ => self.channel(from)?.anew(),
        };
        self.channels[usize::from(number)] = Some(channel);
        Ok(())
    }

    /// To close what is closed is a warning only (GlobalPlatform Card Specification, 11.7.3).
    fn close(&mut self, number: u8) -> Result<(), Status> {
        match self.channels[usize::from(number)].take() {
            Some(_) => Ok(()),
            None => Err(Status::NO_INFORMATION),
        }
    }
}

/// True for a file identifier whose container the protocol decides, whatever is selected.
fn names_shared_file(command: &CommandApdu<'_>, context: &Context<'_>) -> bool {
    let &[high, low] = command.data else { return false };
    context.pairing.shared_files().contains(&u16::from_be_bytes([high, low]))
}

fn success(data: Vec<u8>) -> ResponseApdu {
    ResponseApdu { data, status: Status::SUCCESS }
}
