//! The card as a whole: its life from launch to service, and its only entry.
//!
//! ```text
//! Blank ──Launch──▶ Opening ──Start──▶ Running
//!   │                  │
//!   └──anything else───┴──state not acceptable──▶ Refused
//! ```
//!
//! Nothing that needs randomness or keys exists before `Running`: the generator and the sealing key are made from
//! the launch, and a template that cards are cloned from is `Blank`.

use alloc::{boxed::Box, vec::Vec};

use cardhost_wire::{
    control::{CardId, Command, GuestMessage, HostMessage, Launch, Refusal, SealedRecord, Started, VERSION},
    port::{Port, Protocol},
    status::Status,
};

use crate::{
    atr::ATR,
    control,
    nvm::{Nvm, SealKey},
    piv::{self, Piv},
    platform::Platform,
    rng::Generator,
    services::{Context, Services},
    session::Session,
};

/// Sealed records accepted at start; the store of one card holds fewer.
const MAX_STATE_RECORDS: usize = 1024;

/// One card over the machine `P`.
pub struct Card<P> {
    platform: P,
    state: State,
}

enum State {
    Blank,
    Opening(Box<Opening>),
    Running(Box<Running>),
    Refused,
}

/// Launched; the sealed records arrive.
struct Opening {
    key: SealKey,
    generator: Generator,
    card: CardId,
    default_keys: bool,
    records: Vec<SealedRecord>,
}

/// In service.
struct Running {
    nvm: Nvm,
    generator: Generator,
    card: CardId,
    piv: Piv,
    sessions: [Session; Protocol::ALL.len()],
}

impl Running {
    fn context<'a>(&'a mut self, platform: &'a mut dyn Platform) -> (Context<'a>, &'a mut [Session]) {
        let Self { nvm, generator, card, piv, sessions } = self;
        let services = Services { nvm, generator, platform, card: *card };
        (Context { piv, services }, sessions)
    }
}

impl<P: Platform> Card<P> {
    /// A card that waits for its launch.
    pub const fn new(platform: P) -> Self {
        Self { platform, state: State::Blank }
    }

    /// The machine below.
    pub const fn platform_mut(&mut self) -> &mut P {
        &mut self.platform
    }

    /// Takes one message that arrived on a port and returns the answer to send there.
    ///
    /// On an APDU port that is a command APDU and always a response APDU; before the card runs, `6985`. On the
    /// control port it is a [`HostMessage`], and some have no answer.
    pub fn transmit(&mut self, port: Port, message: &[u8]) -> Option<Vec<u8>> {
        match port {
            Port::Control => self.control(message).map(|answer| answer.encode()),
            Port::Apdu(protocol) => Some(self.apdu(protocol, message)),
        }
    }

    /// The port's stream was opened or closed: its session ends, with every PIN, key and selection in it.
    pub fn reset(&mut self, port: Port) {
        if let (State::Running(card), Port::Apdu(protocol)) = (&mut self.state, port) {
            card.sessions[protocol as usize] = Session::new(protocol);
        }
    }

    fn apdu(&mut self, protocol: Protocol, command: &[u8]) -> Vec<u8> {
        let State::Running(card) = &mut self.state else {
            return Status::CONDITIONS_NOT_SATISFIED.to_bytes().to_vec();
        };
        let (mut context, sessions) = card.context(&mut self.platform);
        sessions[protocol as usize].transmit(command, &mut context)
    }

    fn control(&mut self, message: &[u8]) -> Option<GuestMessage> {
        match HostMessage::decode(message) {
            Ok(HostMessage::Command(number, command)) => self.command(number, command),
            Ok(HostMessage::Committed(_) | HostMessage::CommitFailed(_)) => None,
            Ok(HostMessage::Launch(launch)) => self.launch(&launch),
            Ok(HostMessage::State(records)) => self.receive(records),
            Ok(HostMessage::Start(head)) => self.start(head.as_deref()),
            Err(_) => self.refuse(Refusal::BadLaunch),
        }
    }

    fn command(&mut self, number: u32, command: Command) -> Option<GuestMessage> {
        let State::Running(card) = &mut self.state else { return self.refuse(Refusal::BadLaunch) };
        let (mut context, _) = card.context(&mut self.platform);
        Some(GuestMessage::Answer(number, control::execute(command, &mut context)))
    }

    fn launch(&mut self, launch: &Launch) -> Option<GuestMessage> {
        if launch.version != VERSION || !matches!(self.state, State::Blank) {
            return self.refuse(Refusal::BadLaunch);
        }
        self.state = State::Opening(Box::new(Opening {
            key: SealKey::from_launch(launch),
            generator: Generator::new(launch, &mut self.platform),
            card: launch.card,
            default_keys: launch.default_keys,
            records: Vec::new(),
        }));
        None
    }

    fn receive(&mut self, records: Vec<SealedRecord>) -> Option<GuestMessage> {
        match &mut self.state {
            State::Opening(opening) if opening.records.len() + records.len() <= MAX_STATE_RECORDS => {
                opening.records.extend(records);
                None
            }
            _ => self.refuse(Refusal::BadLaunch),
        }
    }

    fn start(&mut self, head: Option<&[u8]>) -> Option<GuestMessage> {
        let State::Opening(opening) = core::mem::replace(&mut self.state, State::Refused) else {
            return self.refuse(Refusal::BadLaunch);
        };
        match self.open(*opening, head) {
            Ok(running) => Some(GuestMessage::Started(self.run(running))),
            Err(refusal) => self.refuse(refusal),
        }
    }

    fn open(&mut self, opening: Opening, head: Option<&[u8]>) -> Result<Running, Refusal> {
        let Opening { key, generator, card, default_keys, records } = opening;
        let nvm = match head {
            Some(head) => Nvm::open(key, head, &records)?,
            None if records.is_empty() => Nvm::blank(key),
            None => return Err(Refusal::Inconsistent),
        };
        let mut running =
            Running { nvm, generator, card, piv: Piv::default(), sessions: Protocol::ALL.map(Session::new) };
        if head.is_none() && default_keys {
            let (mut context, _) = running.context(&mut self.platform);
            control::personalise_with_default_keys(&mut context).map_err(|_| Refusal::Inconsistent)?;
        }
        Ok(running)
    }

    fn run(&mut self, running: Running) -> Started {
        let started = Started {
            atr: ATR.to_vec(),
            epoch: running.nvm.epoch(),
            credentials: piv::credentials(&running.nvm),
        };
        self.state = State::Running(Box::new(running));
        started
    }

    fn refuse(&mut self, refusal: Refusal) -> Option<GuestMessage> {
        self.state = State::Refused;
        Some(GuestMessage::Refused(refusal))
    }
}
