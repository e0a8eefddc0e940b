//! A reader's line to its card: the channel, and with `--secure` the pairing session over it.
//!
//! A session ends with the card's power, and whenever the card says that it has none: then the next command opens another
//! one before it is sent. What was sent through a session that failed otherwise is never sent again.

use std::{sync::Arc, time::Duration};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    channel::{Channel, ChannelError, Operation, Presence},
    pairer::Pairer,
};
use crate::pairing::{
    flow::{Link, PairingError},
    session::{Session, SessionError},
};
use cardhost_wire::status::Status;

/// A channel with what protects it.
pub struct Line<S> {
    channel: Channel<S>,
    deadline: Duration,
    security: Security,
}

enum Security {
    /// Commands go as they are.
    None,
    /// Commands go through a session with the card.
    Paired { pairer: Arc<Pairer>, session: Option<Session> },
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Line<S> {
    /// A line over a channel; secure if there is somebody who pairs. Every wait for an answer ends at the deadline.
    pub fn new(channel: Channel<S>, deadline: Duration, pairer: Option<Arc<Pairer>>) -> Self {
        let security = match pairer {
            None => Security::None,
            Some(pairer) => Security::Paired { pairer, session: None },
        };
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
        let Security::Paired { pairer, session } = security else { return Ok(()) };
        let mut way = Way { channel, deadline: *deadline, broken: None };
        match pairer.insert(&mut way).await {
            Ok(opened) => *session = Some(opened),
            Err(error) => return Err(way.broken.unwrap_or(ChannelError::Unpaired(Box::new(error)))),
        }
        Ok(())
    }

    /// One command and its response.
    pub async fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, ChannelError> {
        if matches!(self.security, Security::None) {
            return self.channel.transmit(command, self.deadline).await;
        }
        match self.through_session(command).await {
            // Nobody executed it: the card was switched off meanwhile.
            Err(ChannelError::Unpaired(error)) if is_ended(&error) => {
                self.end_session();
                self.through_session(command).await
            }
            answered => answered,
        }
    }

    async fn through_session(&mut self, command: &[u8]) -> Result<Vec<u8>, ChannelError> {
        if matches!(self.security, Security::Paired { session: None, .. }) {
            self.secure().await?;
        }
        let Security::Paired { session: Some(session), .. } = &mut self.security else {
            return self.channel.transmit(command, self.deadline).await;
        };
        let envelope = match session.wrap(command) {
            Ok(envelope) => envelope,
            Err(_) => return Ok(Status::WRONG_LENGTH.to_bytes().to_vec()),
        };
        let answer = self.channel.transmit(&envelope, self.deadline).await?;
        // The channel's own word that the card has gone.
        if matches!(self.channel.presence(), Presence::Absent { .. }) {
            return Ok(answer);
        }
        match session.unwrap(&answer) {
            Ok(response) => Ok(response.to_vec()),
            Err(error) => Err(ChannelError::Unpaired(Box::new(error.into()))),
        }
    }

    fn end_session(&mut self) {
        if let Security::Paired { session, .. } = &mut self.security {
            *session = None;
        }
    }
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
