//! One reader slot: follows its channel and relays between it and vpcd.
//!
//! ```text
//! offline ──channel open──▶ empty ──present──▶ waiting ──vpcd connected──▶ inserted
//!    ▲                        ▲                   ▲                           │ │ │
//!    │                        │                   └─────────vpcd closed───────┘ │ │
//!    │                        └───────────────absent, or another ATR────────────┘ │
//!    └────────────────────────────channel broken, or an answer too late───────────┘
//! ```
//!
//! With `--secure` a card is paired before it is waiting; one that cannot be is `unpaired` until the host takes it away.

use std::{convert::Infallible, fmt, net::SocketAddr, sync::Arc, time::Duration};

use cardhost_wire::{port::Protocol, status::Status};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    access::Access,
    atr,
    backoff::Backoff,
    channel::{Channel, ChannelError, Operation, Presence},
    line::Line,
    pairer::Pairer,
    vpcd::{Request, Vpcd, VpcdError},
};
use crate::output::Output;

/// A reader slot.
#[derive(Clone)]
pub struct Reader {
    /// The protocol between this reader and the card.
    pub protocol: Protocol,
    /// The slot's address at vpcd.
    pub vpcd: SocketAddr,
    /// Longest wait for one answer.
    pub deadline: Duration,
    /// Where changes are told.
    pub output: Output,
    /// Who pairs the cards, if nothing is to go in plain.
    pub pairer: Option<Arc<Pairer>>,
}

/// What the user is told of a reader.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Condition {
    /// No channel to the host.
    Offline,
    /// The host has no card for this terminal.
    Empty,
    /// There is a card that this terminal could not pair with.
    Unpaired,
    /// There is a card, but no vpcd to show it to.
    Waiting,
    /// Applications see the card.
    Inserted,
}

#[derive(Serialize)]
struct Change<'a> {
    reader: Protocol,
    vpcd: SocketAddr,
    condition: Condition,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
}

/// Why the card left the slot.
enum Removal {
    /// The host says so.
    Card,
    /// vpcd closed the slot.
    Slot(VpcdError),
}

/// Why a relay ended.
enum Broken {
    Channel(ChannelError),
    Slot(VpcdError),
}

impl From<ChannelError> for Broken {
    fn from(error: ChannelError) -> Self {
        Self::Channel(error)
    }
}

impl From<VpcdError> for Broken {
    fn from(error: VpcdError) -> Self {
        Self::Slot(error)
    }
}

impl Reader {
    /// Serves the slot for ever.
    pub async fn run(self, access: Arc<Access>) {
        let mut backoff = Backoff::new();
        let mut told = String::new();
        loop {
            let error = match self.open(&access).await {
                Ok(channel) => {
                    backoff = Backoff::new();
                    told.clear();
                    let line = Line::new(channel, self.deadline, self.pairer.clone());
                    let Err(error) = self.follow(line).await;
                    error
                }
                Err(error) => error,
            };
            let text = error.to_string();
            if text != told {
                self.tell(Condition::Offline, &text);
                told = text;
            }
            backoff.pause().await;
        }
    }

    /// Opens the channel, with a new session if the old one has ended and there is one to be had.
    async fn open(&self, access: &Access) -> Result<Channel, ChannelError> {
        let admission = match access.admission() {
            Ok(admission) => admission,
            Err(error) if access.renew(None).await? => return Err(error.into()),
            Err(error) => return Err(error.into()),
        };
        match Channel::open(&admission, self.protocol).await {
            Err(ChannelError::SessionEnded(_)) if access.renew(Some(&admission.session)).await? => {
                Channel::open(&access.admission()?, self.protocol).await
            }
            opened => opened,
        }
    }

    /// Keeps the slot as the channel's host says, until the channel breaks.
    async fn follow<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        mut line: Line<S>,
    ) -> Result<Infallible, ChannelError> {
        loop {
            match line.presence().clone() {
                Presence::Absent { reason } => {
                    self.tell(Condition::Empty, &reason);
                    line.next_event().await?;
                }
                Presence::Present { atr } => match line.secure().await {
                    Ok(()) => self.insert(&mut line, &atr).await?,
                    Err(ChannelError::Unpaired(error)) => {
                        self.leave_out(&mut line, &error.to_string()).await?
                    }
                    Err(error) => return Err(error),
                },
            }
        }
    }

    /// Keeps a card that could not be paired out of the slot. It is not tried again by itself: each try may cost the
    /// card holder one of the PIN's.
    async fn leave_out<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        line: &mut Line<S>,
        reason: &str,
    ) -> Result<(), ChannelError> {
        self.tell(Condition::Unpaired, reason);
        line.next_event().await
    }

    /// Keeps the card in the slot until the host takes it away.
    async fn insert<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        line: &mut Line<S>,
        atr: &[u8],
    ) -> Result<(), ChannelError> {
        let mut backoff = Backoff::new();
        let mut told = false;
        loop {
            let error = match self.fill(line, atr).await? {
                Removal::Card => return Ok(()),
                Removal::Slot(error) => error,
            };
            if !told {
                self.tell(Condition::Waiting, &error.to_string());
                told = true;
            }
            tokio::select! {
                () = backoff.pause() => {}
                event = line.next_event() => event?,
            }
            if !is_present(line, atr) {
                return Ok(());
            }
        }
    }

    /// Puts the card into the slot and relays until it goes.
    async fn fill<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        line: &mut Line<S>,
        atr: &[u8],
    ) -> Result<Removal, ChannelError> {
        let mut vpcd = match Vpcd::connect(self.vpcd).await {
            Ok(vpcd) => vpcd,
            Err(error) => return Ok(Removal::Slot(error)),
        };
        self.tell(Condition::Inserted, "");
        match self.relay(line, &mut vpcd, atr).await {
            Ok(()) => Ok(Removal::Card),
            Err(Broken::Channel(error)) => Err(error),
            Err(Broken::Slot(error)) => {
                line.operate(Operation::PowerOff).await?;
                Ok(Removal::Slot(error))
            }
        }
    }

    async fn relay<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        line: &mut Line<S>,
        vpcd: &mut Vpcd,
        atr: &[u8],
    ) -> Result<(), Broken> {
        while is_present(line, atr) {
            tokio::select! {
                request = vpcd.next_request() => self.serve(line, vpcd, atr, request?).await?,
                event = line.next_event() => event?,
            }
        }
        Ok(())
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        line: &mut Line<S>,
        vpcd: &mut Vpcd,
        atr: &[u8],
        request: Request,
    ) -> Result<(), Broken> {
        match request {
            Request::Atr => vpcd.reply(&atr::on(self.protocol, atr)).await?,
            Request::PowerOn => line.operate(Operation::PowerOn).await?,
            Request::PowerOff => line.operate(Operation::PowerOff).await?,
            Request::Reset => line.operate(Operation::Reset).await?,
            Request::Command(command) => self.exchange(line, vpcd, &command).await?,
        }
        Ok(())
    }

    /// The application gets an answer in any case; an exchange that went wrong ends the channel, lest a late
    /// answer be taken for the next command's.
    async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        line: &mut Line<S>,
        vpcd: &mut Vpcd,
        command: &[u8],
    ) -> Result<(), Broken> {
        let answer = line.transmit(command).await;
        match &answer {
            Ok(response) if (2..=usize::from(u16::MAX)).contains(&response.len()) => {
                vpcd.reply(response).await?
            }
            _ => vpcd.reply(&Status::UNSPECIFIED.to_bytes()).await?,
        }
        answer?;
        Ok(())
    }

    fn tell(&self, condition: Condition, detail: &str) {
        let change = Change { reader: self.protocol, vpcd: self.vpcd, condition, detail };
        self.output.show(&change, || change.to_string());
    }
}

fn is_present<S: AsyncRead + AsyncWrite + Unpin + Send>(line: &Line<S>, inserted: &[u8]) -> bool {
    matches!(line.presence(), Presence::Present { atr } if atr == inserted)
}

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let condition = match self.condition {
            Condition::Offline => "offline",
            Condition::Empty => "empty",
            Condition::Unpaired => "unpaired",
            Condition::Waiting => "waiting for vpcd",
            Condition::Inserted => "inserted",
        };
        write!(f, "reader {} at {}: {condition}", self.reader, self.vpcd)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
