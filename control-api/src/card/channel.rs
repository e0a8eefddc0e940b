//! A terminal's channel to its card on one protocol.

use std::{sync::Arc, time::Duration};

use cardhost_wire::{apdu::MAX_COMMAND, port::Protocol};
use tokio::{sync::watch, time::Instant};
use zeroize::Zeroizing;

use super::{
    CardError, Cards, Presence,
    entry::{Entry, Live},
    ports::Response,
    task::Mail,
};

/// The only channel of this terminal and protocol, until it is dropped. It outlives the microVM: each use
/// starts the card if it is at rest, in a fresh session.
pub struct Channel {
    cards: Cards,
    entry: Arc<Entry>,
    protocol: Protocol,
    stream: Option<Live>,
}

impl Channel {
    pub(super) fn reserve(cards: Cards, entry: Arc<Entry>, protocol: Protocol) -> Result<Self, CardError> {
        if entry.reserve(protocol) {
            Ok(Self { cards, entry, protocol, stream: None })
        } else {
            Err(CardError::ChannelInUse)
        }
    }

    /// What the terminal sees of its card, and every change of it.
    pub fn presence(&self) -> watch::Receiver<Presence> {
        self.entry.presence()
    }

    /// Starts the card if need be and begins a session of this protocol.
    pub async fn power_on(&mut self) -> Result<(), CardError> {
        self.live().await.map(drop)
    }

    /// Ends the session, and all its state with it. The card may go to rest.
    pub async fn power_off(&mut self) {
        if let Some(live) = self.stream.take() {
            drop(live.mail.send(Mail::Close { protocol: self.protocol }).await);
        }
    }

    /// Ends the session and begins another.
    pub async fn reset(&mut self) -> Result<(), CardError> {
        self.power_off().await;
        self.power_on().await
    }

    /// One command APDU, one response APDU. A guest that does not answer within `limit` is ended.
    pub async fn exchange(
        &mut self,
        command: Zeroizing<Vec<u8>>,
        limit: Duration,
    ) -> Result<Response, CardError> {
        if command.len() > MAX_COMMAND {
            return Err(CardError::TooLong);
        }
        let (protocol, deadline) = (self.protocol, Instant::now() + limit);
        let live = self.live().await?;
        let response = live.ask(|reply| Mail::Exchange { protocol, command, deadline, reply }).await;
        if !matches!(response, Ok(_) | Err(CardError::Busy)) {
            self.stream = None;
        }
        response
    }

    async fn live(&mut self) -> Result<Live, CardError> {
        if let Some(live) = self.stream.as_ref().filter(|live| live.is_running()) {
            return Ok(live.clone());
        }
        let (protocol, live) = (self.protocol, self.cards.start(&self.entry).await?);
        live.ask(|reply| Mail::Open { protocol, reply }).await?;
        self.stream = Some(live.clone());
        Ok(live)
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let (entry, protocol, stream) = (self.entry.clone(), self.protocol, self.stream.take());
        let cards = self.cards.clone();
        let free = async move {
            if let Some(live) = stream {
                drop(live.mail.send(Mail::Close { protocol }).await);
            }
            entry.release(protocol);
            cards.forget_if_idle(entry);
        };
        // Without a runtime the daemon is ending, and everything ends with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(free);
        }
    }
}
