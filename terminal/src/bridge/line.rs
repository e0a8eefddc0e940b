//! A reader's line to its card: the channel, and with `--secure` the pairing session over it.
//!
//! A session ends with the card's power, and whenever the card says that it has none: then the next command opens another
//! one before it is sent. What was sent through a session that failed otherwise is never sent again.

use std::{sync::Arc, time::Duration};

use cardhost_wire::status::Status;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    channel::{Channel, ChannelError, Operation, Presence},
    pairer::Pairer,
};
use crate::pairing::{
    flow::{Link, PairingError},
    session::{Session, SessionError},
};

/// A channel with what protects it.
pub struct Line<S> {
    channel: Channel<S>,
    deadline: Duration,
    /// `None`: commands go as they are.
    security: Option<Security>,
}

/// What a secure line sends goes through a session with the card, or not at all.
struct Security {
    pairer: Arc<Pairer>,
    session: Option<Session>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Line<S> {
    /// A line over a channel; secure if there is somebody who pairs. Every wait for an answer ends at the deadline.
    pub fn new(channel: Channel<S>, deadline: Duration, pairer: Option<Arc<Pairer>>) -> Self {
        let security = pairer.map(|pairer| Security { pairer, session: None });
        Self { channel, deadline, security }
    }

    /// See [`Channel::presence`].
    pub const fn presence(&self) -> &Presence {
        self.channel.presence()
    }

    /// See [`Channel::next_event`]. A card that went took its session along.
    pub async fn next_event(&mut self) -> Result<(), ChannelError> {
        self.channel.next_event().await?;
        self.end_session();
        Ok(())
    }

    /// See [`Channel::operate`]; it ends the session.
    pub async fn operate(&mut self, operation: Operation) -> Result<(), ChannelError> {
        self.end_session();
        self.channel.operate(operation).await
    }

    /// Opens a session with the card that was put in, if the line is to be secure.
    pub async fn secure(&mut self) -> Result<(), ChannelError> {
        let Self { channel, deadline, security } = self;
        match security {
            None => Ok(()),
            Some(security) => {
                security.session = Some(open(&security.pairer, channel, *deadline).await?);
                Ok(())
            }
        }
    }

    /// One command and its response.
    pub async fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, ChannelError> {
        let Self { channel, deadline, security } = self;
        match security {
            None => channel.transmit(command, *deadline).await,
            Some(security) => security.transmit(channel, *deadline, command).await,
        }
    }

    fn end_session(&mut self) {
        if let Some(security) = &mut self.security {
            security.session = None;
        }
    }
}

impl Security {
    async fn transmit<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &mut self,
        channel: &mut Channel<S>,
        deadline: Duration,
        command: &[u8],
    ) -> Result<Vec<u8>, ChannelError> {
        match self.through_session(channel, deadline, command).await {
            // Nobody executed it: the card was switched off meanwhile.
            Err(ChannelError::Unpaired(error)) if is_ended(&error) => {
                self.session = None;
                self.through_session(channel, deadline, command).await
            }
            answered => answered,
        }
    }

    async fn through_session<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &mut self,
        channel: &mut Channel<S>,
        deadline: Duration,
        command: &[u8],
    ) -> Result<Vec<u8>, ChannelError> {
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(open(&self.pairer, channel, deadline).await?),
        };
        let Ok(envelope) = session.wrap(command) else {
            return Ok(Status::WRONG_LENGTH.to_bytes().to_vec());
        };
        let answer = channel.transmit(&envelope, deadline).await?;
        // The channel's own word that the card has gone.
        if matches!(channel.presence(), Presence::Absent { .. }) {
            return Ok(answer);
        }
        match session.unwrap(&answer) {
            Ok(response) => Ok(response.to_vec()),
            Err(error) => Err(ChannelError::Unpaired(Box::new(error.into()))),
        }
    }
}

/// A new session with the card at the end of the channel.
async fn open<S: AsyncRead + AsyncWrite + Unpin + Send>(
    pairer: &Pairer,
    channel: &mut Channel<S>,
    deadline: Duration,
) -> Result<Session, ChannelError> {
    let mut way = Way { channel, deadline, broken: None };
    let opened = pairer.insert(&mut way).await;
    opened.map_err(|error| way.broken.unwrap_or(ChannelError::Unpaired(Box::new(error))))
}

fn is_ended(error: &PairingError) -> bool {
    matches!(error, PairingError::Session(SessionError::Ended))
}

/// The channel as the flow of a pairing uses it.
struct Way<'a, S> {
    channel: &'a mut Channel<S>,
    deadline: Duration,
    /// What the flow can only tell as text.
    broken: Option<ChannelError>,
}

/// The channel has broken; the reason is kept beside.
#[derive(Debug, thiserror::Error)]
#[error("the channel has broken")]
struct Broken;

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Link for Way<'_, S> {
    type Error = Broken;

    async fn exchange(&mut self, command: &[u8]) -> Result<Vec<u8>, Broken> {
        self.channel.transmit(command, self.deadline).await.map_err(|error| {
            self.broken = Some(error);
            Broken
        })
    }
}
