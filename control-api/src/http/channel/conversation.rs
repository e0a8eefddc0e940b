//! What is said on a channel, from the upgrade to its end.
//!
//! ```text
//!            present / absent events follow the card
//! open ─▶ powered ──power-off──▶ unpowered ──power-on, reset──▶ powered ─▶ …
//!            │ command: one response, always; a card that does not answer answers 6F00
//! ```
//!
//! One command is under way at a time; the terminal's next one waits in its connection.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use cardhost_wire::status::Status;
use tokio::{
    sync::watch,
    time::{self, Instant},
};
use zeroize::Zeroizing;

use super::{
    message::{Event, Operation, Wish},
    registry::Place,
};
use crate::{
    card::{CardError, Channel, Presence},
    server,
};

/// Between two pings to the terminal.
const PING: Duration = Duration::from_secs(20);
/// A terminal that says nothing for this long, pongs included, is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// Longest wait for a response; generating an RSA-3072 key takes the longest.
const RESPONSE: Duration = Duration::from_secs(60);

/// Holds the conversation until either side, the admission or the daemon ends it.
pub(super) async fn hold(socket: WebSocket, channel: Channel, place: Place, end: watch::Receiver<bool>) {
    let conversation = Conversation { socket, channel, powered: true, heard: Instant::now(), told: None };
    metrics::gauge!("cardhost_channels").increment(1);
    let why = conversation.run(place, end).await;
    metrics::gauge!("cardhost_channels").decrement(1);
    tracing::info!(%why, "channel closed");
}

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the terminal closed it")]
    Terminal,
    #[error("the connection broke")]
    Broken(#[from] axum::Error),
    #[error("the terminal says nothing")]
    Silent,
    #[error("the terminal sent what is no message of a channel")]
    Malformed,
    #[error("the session or the device is no longer admitted")]
    Admission,
    #[error("the daemon ends")]
    Daemon,
}

impl End {
    fn code(&self) -> Option<u16> {
        match self {
            Self::Terminal | Self::Broken(_) => None,
            Self::Silent | Self::Daemon => Some(close_code::AWAY),
            Self::Malformed => Some(close_code::PROTOCOL),
            Self::Admission => Some(close_code::POLICY),
        }
    }
}

struct Conversation {
    socket: WebSocket,
    channel: Channel,
    powered: bool,
    heard: Instant,
    told: Option<Presence>,
}

impl Conversation {
    async fn run(mut self, mut place: Place, mut end: watch::Receiver<bool>) -> End {
        let ended = tokio::select! {
            ended = self.talk() => ended.err().unwrap_or(End::Terminal),
            () = place.ended() => End::Admission,
            () = server::ended(&mut end) => End::Daemon,
        };
        if let Some(code) = ended.code() {
            let frame = CloseFrame { code, reason: ended.to_string().into() };
            // The terminal may be gone already.
            let _ =
                time::timeout(Duration::from_secs(1), self.socket.send(Message::Close(Some(frame)))).await;
        }
        ended
    }

    async fn talk(&mut self) -> Result<(), End> {
        let mut presence = self.channel.presence();
        let mut ping = time::interval(PING);
        loop {
            let now = presence.borrow_and_update().clone();
            self.tell(now).await?;
            tokio::select! {
                message = self.socket.recv() => match message {
                    Some(message) => self.hear(message?).await?,
                    None => return Err(End::Terminal),
                },
                _ = presence.changed() => {}
                _ = ping.tick() => self.ping().await?,
            }
        }
    }

    async fn hear(&mut self, message: Message) -> Result<(), End> {
        self.heard = Instant::now();
        match message {
            Message::Binary(command) => self.exchange(&command).await,
            Message::Text(text) => match serde_json::from_str(&text) {
                Ok(Wish { op }) => {
                    self.operate(op).await;
                    Ok(())
                }
                Err(_) => Err(End::Malformed),
            },
            Message::Ping(_) | Message::Pong(_) => Ok(()),
            Message::Close(_) => Err(End::Terminal),
        }
    }

    async fn exchange(&mut self, command: &[u8]) -> Result<(), End> {
        let started = Instant::now();
        let response = match self.powered {
            true => self.channel.exchange(Zeroizing::new(command.to_vec()), RESPONSE).await,
            false => Err(CardError::Absent),
        };
        let response = response.unwrap_or_else(|error| {
            tracing::debug!(%error, "the card does not answer");
            Zeroizing::new(Status::UNSPECIFIED.to_bytes().to_vec())
        });
        note(command, &response, started);
        Ok(self.socket.send(Message::Binary(response.to_vec().into())).await?)
    }

    async fn operate(&mut self, operation: Operation) {
        self.powered = operation != Operation::PowerOff;
        self.channel.power_off().await;
        if self.powered
            && let Err(error) = self.channel.power_on().await
        {
            tracing::debug!(%error, "the card does not power on");
        }
    }

    /// Tells a change. A card that was reset underneath the channel was absent for a moment.
    async fn tell(&mut self, now: Presence) -> Result<(), End> {
        let before = self.told.replace(now.clone());
        if before.as_ref() == Some(&now) {
            return Ok(());
        }
        if let (Some(Presence::Present { .. }), Presence::Present { .. }) = (&before, &now) {
            self.say(&Event::Absent { reason: "the card was reset" }).await?;
        }
        self.say(&Event::from(&now)).await
    }

    async fn say(&mut self, event: &Event) -> Result<(), End> {
        Ok(self.socket.send(Message::Text(event.text().into())).await?)
    }

    async fn ping(&mut self) -> Result<(), End> {
        if self.heard.elapsed() > SILENCE {
            return Err(End::Silent);
        }
        Ok(self.socket.send(Message::Ping(Vec::new().into())).await?)
    }
}

/// The header's class and instruction and the status word; nothing of what they carry.
fn note(command: &[u8], response: &[u8], started: Instant) {
    let elapsed = started.elapsed();
    metrics::histogram!("cardhost_apdu_seconds").record(elapsed);
    tracing::debug!(
        header = command.get(..2).map(hex::encode),
        status = response.last_chunk::<2>().map(hex::encode),
        latency_us = elapsed.as_micros() as u64,
        "apdu"
    );
}
