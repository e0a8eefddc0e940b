//! A communication protocol as its terminal sees it: in plain, or through a pairing session (`docs/pairing.md`).
//!
//! ```text
//! Plain ⇄ Selected       SELECT of the pairing security domain on the basic channel, and of anything else
//! Selected ─▶ Protected  MUTUAL AUTHENTICATE, EXTERNAL AUTHENTICATE
//! Protected ─▶ Plain     bad MAC · its pairing ended · reset
//! Protected ─▶ Selected  SELECT of the pairing security domain in plain
//! ```
//!
//! The begin and the end of a pairing session reset the session of the applications within.

use alloc::{boxed::Box, vec::Vec};

use cardhost_wire::{
    apdu::{CommandApdu, ResponseApdu},
    pairing::{PAIRING_DOMAIN, PairingPolicy},
    port::Protocol,
    protocols::ProtocolPairing,
    status::Status,
};

use super::{BY_DF_NAME, Parsed, SELECT, Session, class::Class, success};
use crate::{
    pairing::{self, Domain, Ended, Outcome, Protected, is_envelope, is_secured},
    services::Context,
};

/// The state of one communication protocol from its reset on.
pub struct Tunnel {
    protocol: Protocol,
    state: State,
    /// Of the applications.
    session: Session,
}

enum State {
    Plain,
    /// The pairing security domain is selected on the basic channel.
    Selected(Domain),
    Protected(Box<Protected>),
}

impl Tunnel {
    /// After a reset.
    pub fn new(protocol: Protocol, pairing: &ProtocolPairing) -> Self {
        Self { protocol, state: State::Plain, session: Session::new(protocol, pairing) }
    }

    /// True if a terminal could not tell this from the state after a reset, or can have the same again by
    /// authenticating: a command without its pairing session is answered `6982` and was not executed.
    pub fn is_initial(&self, pairing: &ProtocolPairing) -> bool {
        let holds_nothing = match &self.state {
            State::Plain => true,
            State::Selected(_) => false,
            State::Protected(session) => !session.is_held(),
        };
        holds_nothing && self.session.is_initial(pairing)
    }

    /// Ends what rests on something that ended.
    pub fn end_if(&mut self, ended: &Ended, pairing: &ProtocolPairing) {
        match &mut self.state {
            State::Selected(domain) => domain.end_if(ended),
            State::Protected(session) if session.is_over(ended) => self.enter(State::Plain, pairing),
            State::Plain | State::Protected(_) => {}
        }
    }

    /// Executes one command APDU. Always answers.
    pub fn transmit(&mut self, message: &[u8], context: &mut Context<'_>) -> Vec<u8> {
        match (CommandApdu::parse(message), &self.state) {
            (Ok(command), _) if selects_domain(&command) => self.select_domain(&command, context).to_bytes(),
            (command, State::Protected(_)) if is_secured(message) => self.protected(command, context),
            (_, State::Protected(_)) => refused(Status::SECURITY_STATUS_NOT_SATISFIED),
            (command, State::Plain | State::Selected(_)) => self.plain(command, context),
        }
    }

    fn select_domain(&mut self, command: &CommandApdu<'_>, context: &mut Context<'_>) -> ResponseApdu {
        match self.state {
            State::Protected(_) => self.enter(State::Selected(Domain::default()), context.pairing),
            _ => {
                self.session.leave(context.pairing);
                self.state = State::Selected(Domain::default());
            }
        }
        let response = success(Domain::select_response(&context.shared.card));
        self.session.answer(0, response, command.le)
    }

    fn protected(&mut self, command: Parsed<'_>, context: &mut Context<'_>) -> Vec<u8> {
        let State::Protected(session) = &mut self.state else {
            return refused(Status::SECURITY_STATUS_NOT_SATISFIED);
        };
        let command = match session.unwrap(command) {
            Ok(command) => command,
            Err(status) => {
                self.enter(State::Plain, context.pairing);
                return refused(status);
            }
        };
        let response = match session.execute(&command, context) {
            Some(response) => response.to_bytes(),
            None => self.session.transmit(&command, context),
        };
        session.wrap(response)
    }

    fn plain(&mut self, command: Parsed<'_>, context: &mut Context<'_>) -> Vec<u8> {
        if let Ok(command) = &command {
            if is_envelope(command) && !self.session.has_secure_channel() {
                return refused(Status::SECURITY_STATUS_NOT_SATISFIED);
            }
            if let State::Selected(_) = self.state
                && is_on_basic_channel(command)
            {
                if command.ins != SELECT {
                    return self.domain(command, context);
                }
                self.state = State::Plain;
            }
        }
        match pairing::policy(context.card_os().nvm()) {
            Ok(PairingPolicy::Open) => self.session.respond(command, context),
            Ok(PairingPolicy::PairedOnly) => refused(Status::SECURITY_STATUS_NOT_SATISFIED),
            Err(status) => refused(status),
        }
    }

    /// A command for the pairing security domain. The session of the applications, whose basic channel stands at its
    /// root meanwhile, lends its chain and its pending response.
    fn domain(&mut self, command: &CommandApdu<'_>, context: &mut Context<'_>) -> Vec<u8> {
        let State::Selected(domain) = &mut self.state else {
            return refused(Status::CONDITIONS_NOT_SATISFIED);
        };
        let mut begun = None;
        let answer = self.session.receive_for(command, |_, _, whole| {
            match domain.execute(whole, &mut context.card_os())? {
                Outcome::Answer(data) => Ok(success(data)),
                Outcome::Begun(session, data) => {
                    begun = Some(session);
                    Ok(success(data))
                }
            }
        });
        if let Some(session) = begun {
            self.enter(State::Protected(session), context.pairing);
        }
        answer.unwrap_or_else(ResponseApdu::from).to_bytes()
    }

    /// Another state, with the applications as after a reset.
    fn enter(&mut self, state: State, pairing: &ProtocolPairing) {
        *self = Self { state, ..Self::new(self.protocol, pairing) };
    }
}

/// True for SELECT of the pairing security domain by its whole AID, on the basic channel.
fn selects_domain(command: &CommandApdu<'_>) -> bool {
    (command.cla, command.ins, command.p1, command.p2) == (0x00, SELECT, BY_DF_NAME, 0x00)
        && command.data == PAIRING_DOMAIN
}

fn is_on_basic_channel(command: &CommandApdu<'_>) -> bool {
    Class::parse(command.cla).is_ok_and(|class| class.channel() == 0)
}

fn refused(status: Status) -> Vec<u8> {
    status.to_bytes().to_vec()
}
