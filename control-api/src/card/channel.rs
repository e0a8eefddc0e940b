//! A terminal's channel to its card on one protocol.

use std::{sync::Arc, time::Duration};

use cardhost_wire::{apdu::MAX_COMMAND, port::Protocol};
use tokio::{sync::watch, time::Instant};
use zeroize::Zeroizing;

use super::{
    CardError, Cards, Presence,
    entry::Held,
    live::{Live, Use},
    ports::Response,
    task::Mail,
};

/// The only channel of this terminal and protocol, until it is dropped. It outlives the microVM: each use
/// starts the card if it is parked, in a fresh session.
pub struct Channel {
    cards: Cards,
    entry: Held,
    protocol: Protocol,
    /// The card in which this protocol's session stands.
    stream: Option<Arc<Live>>,
}

impl Channel {
    pub(super) fn reserve(cards: Cards, entry: Held, protocol: Protocol) -> Result<Self, CardError> {
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
        self.enter().await.map(drop)
    }

    /// Ends the session, and all its state with it. The card may park.
    pub async fn power_off(&mut self) {
        close(self.stream.take(), self.protocol).await;
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
        if let Some(rate) = self.cards.settings().apdu_rate {
            self.entry.pace.pass(rate).await;
        }
        let (protocol, deadline) = (self.protocol, Instant::now() + limit);
        let card = self.enter().await?;
        let response = card.ask(|reply| Mail::Exchange { protocol, command, deadline, reply }).await;
        if !matches!(response, Ok(_) | Err(CardError::Busy)) {
            self.stream = None;
        }
        response
    }

    /// Uses the card in which the session stands, or starts the card and begins a session.
    async fn enter(&mut self) -> Result<Use, CardError> {
        if let Some(live) = &self.stream
            && let Some(card) = live.enter().await
        {
            return Ok(card);
        }
        let (protocol, card) = (self.protocol, self.cards.start(&self.entry).await?);
        card.ask(|reply| Mail::Open { protocol, reply }).await?;
        self.stream = Some(card.live().clone());
        Ok(card)
    }
}

/// Ends the session in a card that still runs.
async fn close(stream: Option<Arc<Live>>, protocol: Protocol) {
    if let Some(live) = stream
        && let Some(card) = live.enter().await
    {
        // A card that has just ended has no session any more.
        let _ = card.live().tell(Mail::Close { protocol }).await;
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let (entry, protocol, stream) = (self.entry.clone(), self.protocol, self.stream.take());
        let free = async move {
            close(stream, protocol).await;
            entry.release(protocol);
        };
        // Without a runtime the daemon is ending, and everything ends with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(free);
        }
    }
}
