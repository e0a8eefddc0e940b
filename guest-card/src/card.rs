//! The card as a whole: its life from launch to service, and its only entry.
//!
//! ```text
//! Blank ──Launch──▶ Opening ──Start──▶ Running
//!   │                  │                  │
//!   └──anything else───┴──state not ok────┴──a second launch, state or malformed message──▶ Refused
//! ```
//!
//! `Refused` is the end: whatever comes is answered with the same refusal, an APDU with `6985` as before `Running`.
//!
//! Nothing that needs randomness or keys exists before `Running`: the generator and the sealing key are made from
//! the launch, and a template that cards are cloned from is `Blank`.

use alloc::{boxed::Box, vec::Vec};

use cardhost_wire::{
    control::{
        Answer, CardId, Command, Failure, GuestMessage, HostMessage, Launch, Refusal, SealedRecord,
        SessionState, Started, VERSION,
    },
    port::{Port, Protocol},
    protocols::ProtocolPairing,
    status::Status,
};

use crate::{
    atr::ATR,
    configuration, control,
    nvm::{Nvm, SealKey, SealedState},
    pairing::Ended,
    piv::Piv,
    platform::Platform,
    rng::Generator,
    services::{self, Context, Shared},
    session::Tunnel,
};

/// One card over the machine `P`.
pub struct Card<P> {
    platform: P,
    state: State,
}

enum State {
    Blank,
    Opening(Box<Opening>),
    Running(Box<Running>),
    Refused(Refusal),
}

/// Launched; the sealed records arrive.
struct Opening {
    key: SealKey,
    generator: Generator,
    card: CardId,
    default_keys: bool,
    state: SealedState,
}

impl Opening {
    fn open(self, head: Option<&[u8]>) -> Result<Running, Refusal> {
        let Self { key, generator, card, default_keys, state } = self;
        let nvm = match head {
            Some(head) => Nvm::open(key, head, state)?,
            None if state.is_empty() => Nvm::blank(key),
            None => return Err(Refusal::Inconsistent),
        };
        let pairing = configuration::protocols(nvm.part()).map_err(|_| Refusal::UnknownFormat)?;
        let sessions = Protocol::ALL.map(|protocol| Tunnel::new(protocol, &pairing));
        let wants_default_keys = default_keys && head.is_none();
        let (piv, ended) = (Piv::default(), Ended::default());
        Ok(Running { nvm, generator, card, piv, pairing, ended, sessions, wants_default_keys })
    }
}

/// In service.
struct Running {
    nvm: Nvm,
    generator: Generator,
    card: CardId,
    piv: Piv,
    pairing: ProtocolPairing,
    /// What the command under way ends of the pairings with terminals.
    ended: Ended,
    sessions: [Tunnel; Protocol::ALL.len()],
    /// Development only: the card gets the well-known secrets at its first use, unless that personalises it. Not
    /// before: the host takes commits of started cards only.
    wants_default_keys: bool,
}

impl Running {
    fn context<'a>(&'a mut self, platform: &'a mut dyn Platform) -> (Context<'a>, &'a mut [Tunnel]) {
        let Self { nvm, generator, card, piv, pairing, ended, sessions, .. } = self;
        let shared = Shared { nvm, generator, platform, card: *card };
        (Context { piv, pairing, ended, shared }, sessions)
    }

    fn command(&mut self, command: Command, platform: &mut dyn Platform) -> Result<Answer, Failure> {
        if !matches!(command, Command::Personalise { .. }) {
            self.set_default_keys(platform)?;
        }
        let (mut context, _) = self.context(platform);
        let answer = control::execute(command, &mut context);
        self.end_sessions();
        answer
    }

    /// Ends the sessions, on all protocols, of the pairings that the last command ended.
    fn end_sessions(&mut self) {
        let ended = core::mem::take(&mut self.ended);
        if !ended.is_empty() {
            self.sessions.iter_mut().for_each(|session| session.end_if(&ended, &self.pairing));
        }
    }

    fn session_state(&self) -> SessionState {
        let initial = self.sessions.iter().all(|session| session.is_initial(&self.pairing));
        if initial { SessionState::None } else { SessionState::Held }
    }

    fn apdu(&mut self, protocol: Protocol, command: &[u8], platform: &mut dyn Platform) -> Vec<u8> {
        if self.set_default_keys(platform).is_err() {
            return Status::MEMORY_FAILURE.to_bytes().to_vec();
        }
        let (mut context, sessions) = self.context(platform);
        let answer = sessions[protocol as usize].transmit(command, &mut context);
        self.end_sessions();
        answer
    }

    fn set_default_keys(&mut self, platform: &mut dyn Platform) -> Result<(), Failure> {
        if self.wants_default_keys {
            let (mut context, _) = self.context(platform);
            control::personalise_with_default_keys(&mut context)?;
            self.wants_default_keys = false;
        }
        Ok(())
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
            card.sessions[protocol as usize] = Tunnel::new(protocol, &card.pairing);
        }
    }

    fn apdu(&mut self, protocol: Protocol, command: &[u8]) -> Vec<u8> {
        match &mut self.state {
            State::Running(card) => card.apdu(protocol, command, &mut self.platform),
            _ => Status::CONDITIONS_NOT_SATISFIED.to_bytes().to_vec(),
        }
    }

    fn control(&mut self, message: &[u8]) -> Option<GuestMessage> {
        if let State::Refused(refusal) = self.state {
            return Some(GuestMessage::Refused(refusal));
        }
        let outcome = match HostMessage::decode(message) {
            Ok(HostMessage::Command(number, command)) => self.command(number, command).map(Some),
            // The verdict on a commit that is over; the platform takes the one on a commit under way.
            Ok(HostMessage::Committed(_) | HostMessage::CommitFailed(_)) => Ok(None),
            Ok(HostMessage::SessionState) => self.session_state().map(Some),
            Ok(HostMessage::Launch(launch)) => self.launch(&launch).map(|()| None),
            Ok(HostMessage::State(records)) => self.receive(records).map(|()| None),
            Ok(HostMessage::Start(head)) => {
                self.start(head.as_deref()).map(|started| Some(GuestMessage::Started(started)))
            }
            Err(_) => Err(Refusal::BadLaunch),
        };
        outcome.unwrap_or_else(|refusal| {
            self.state = State::Refused(refusal);
            Some(GuestMessage::Refused(refusal))
        })
    }

    fn command(&mut self, number: u32, command: Command) -> Result<GuestMessage, Refusal> {
        let State::Running(card) = &mut self.state else { return Err(Refusal::BadLaunch) };
        Ok(GuestMessage::Answer(number, card.command(command, &mut self.platform)))
    }

    fn session_state(&self) -> Result<GuestMessage, Refusal> {
        let State::Running(card) = &self.state else { return Err(Refusal::BadLaunch) };
        Ok(GuestMessage::SessionState(card.session_state()))
    }

    fn launch(&mut self, launch: &Launch) -> Result<(), Refusal> {
        if launch.version != VERSION || !matches!(self.state, State::Blank) {
            return Err(Refusal::BadLaunch);
        }
        self.state = State::Opening(Box::new(Opening {
            key: SealKey::from_launch(launch),
            generator: Generator::new(launch, &mut self.platform),
            card: launch.card,
            default_keys: launch.default_keys,
            state: SealedState::default(),
        }));
        Ok(())
    }

    fn receive(&mut self, records: Vec<SealedRecord>) -> Result<(), Refusal> {
        let State::Opening(opening) = &mut self.state else { return Err(Refusal::BadLaunch) };
        opening.state.extend(records)
    }

    fn start(&mut self, head: Option<&[u8]>) -> Result<Started, Refusal> {
        match core::mem::replace(&mut self.state, State::Refused(Refusal::BadLaunch)) {
            State::Opening(opening) => opening.open(head).map(|running| self.run(running)),
            _ => Err(Refusal::BadLaunch),
        }
    }

    fn run(&mut self, running: Running) -> Started {
        let started = Started {
            atr: ATR.to_vec(),
            epoch: running.nvm.epoch(),
            credentials: services::credentials(&running.nvm),
        };
        self.state = State::Running(Box::new(running));
        started
    }
}
