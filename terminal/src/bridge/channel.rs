//! The terminal's channel to its card: a WebSocket of subprotocol `apdu.cardhost.v1`.
//!
//! A binary message is one command or one response APDU; text messages carry power, reset and presence.

use std::{io, sync::Arc, time::Duration};

use cardhost_wire::{apdu, port::Protocol, status::Status};
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::Url;
use rustls_pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpStream,
    time::{Instant, Interval, MissedTickBehavior, interval_at, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        self, Message,
        client::IntoClientRequest as _,
        handshake::client::Request,
        http::{HeaderValue, header},
        protocol::WebSocketConfig,
    },
};

use super::access::Admission;
use crate::{error::Error, host, pairing::flow::PairingError, problem::Problem, tls};

/// The subprotocol.
const SUBPROTOCOL: &str = "apdu.cardhost.v1";
/// Longest wait until the channel is open.
const OPEN_DEADLINE: Duration = Duration::from_secs(15);
/// When the host is asked for a sign of life, and when it is taken for dead.
const PULSE: Pulse = Pulse { every: Duration::from_secs(15), silence: Duration::from_secs(40) };
/// Longest wait for a small message to leave.
const SEND_DEADLINE: Duration = Duration::from_secs(10);

/// Why there is no channel, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// This terminal's own files.
    #[error(transparent)]
    Terminal(#[from] Error),
    /// No connection.
    #[error("cannot reach the host: {0}")]
    Connect(io::Error),
    /// The session's token is not valid (any more).
    #[error("the session has ended, log in again with `cardhost-terminal login`: {0}")]
    SessionEnded(Problem),
    /// The host refused the channel.
    #[error("the host refused the channel: {0}")]
    Refused(Problem),
    /// The host, or the way to it, did not answer in time.
    #[error("the host does not answer")]
    Silent,
    /// The host closed the channel.
    #[error("the host closed the channel")]
    Closed,
    /// The WebSocket broke.
    #[error("the channel broke: {0}")]
    Broken(Box<tungstenite::Error>),
    /// The host sent what the channel does not have.
    #[error("the host sent a message that the channel does not have")]
    Malformed,
    /// There is no session with the card, or no longer.
    #[error("{0}")]
    Unpaired(Box<PairingError>),
}

impl From<tungstenite::Error> for ChannelError {
    fn from(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Http(response) => refusal(*response),
            tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => Self::Closed,
            error => Self::Broken(Box::new(error)),
        }
    }
}

/// Whether the host has the card there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// No card.
    Absent {
        /// Why, in the host's words.
        reason: String,
    },
    /// A card with this answer to reset.
    Present {
        /// The ATR.
        atr: Vec<u8>,
    },
}

/// What the reader does to the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Operation {
    /// Power on.
    PowerOn,
    /// Power off.
    PowerOff,
    /// Reset.
    Reset,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Event {
    Present {
        #[serde(with = "hex")]
        atr: Vec<u8>,
    },
    Absent {
        #[serde(default)]
        reason: String,
    },
}

/// How often the host is asked for a sign of life, and how long it may stay silent.
#[derive(Clone, Copy)]
struct Pulse {
    every: Duration,
    silence: Duration,
}

/// An open channel.
pub struct Channel<S = TlsStream<TcpStream>> {
    socket: WebSocketStream<S>,
    presence: Presence,
    heartbeat: Interval,
    silence: Duration,
    heard: Instant,
}

impl Channel {
    /// Opens the channel of this protocol.
    pub async fn open(admission: &Admission, protocol: Protocol) -> Result<Self, ChannelError> {
        let opened = timeout(OPEN_DEADLINE, connect(admission, protocol)).await;
        Ok(Self::over(opened.map_err(|_| ChannelError::Silent)??, PULSE))
    }
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Channel<S> {
    /// The channel over an established WebSocket. The card is absent until the host says otherwise.
    fn over(socket: WebSocketStream<S>, Pulse { every, silence }: Pulse) -> Self {
        let mut heartbeat = interval_at(Instant::now() + every, every);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let presence = Presence::Absent { reason: String::new() };
        Self { socket, presence, heartbeat, silence, heard: Instant::now() }
    }

    /// Whether a card is there, as the host said last.
    pub const fn presence(&self) -> &Presence {
        &self.presence
    }

    /// Waits for the host's next word on the card's presence. Cancelled, it loses nothing.
    pub async fn next_event(&mut self) -> Result<(), ChannelError> {
        match self.next_message().await? {
            Message::Text(text) => self.note(&text),
            _ => Err(ChannelError::Malformed),
        }
    }

    /// Tells the card's power or reset; the host needs no answer, for messages stay in order.
    pub async fn operate(&mut self, operation: Operation) -> Result<(), ChannelError> {
        let text = serde_json::to_string(&operation).expect("an operation is JSON");
        self.send(Message::text(text)).await
    }

    /// Sends one command and waits for its response; `6F00` if the card goes away meanwhile.
    pub async fn transmit(&mut self, command: &[u8], deadline: Duration) -> Result<Vec<u8>, ChannelError> {
        let exchange = async {
            self.send(Message::binary(command.to_vec())).await?;
            self.response().await
        };
        timeout(deadline, exchange).await.map_err(|_| ChannelError::Silent)?
    }

    async fn response(&mut self) -> Result<Vec<u8>, ChannelError> {
        loop {
            match self.next_message().await? {
                Message::Binary(response) => return Ok(response.to_vec()),
                Message::Text(text) => self.note(&text)?,
                _ => return Err(ChannelError::Malformed),
            }
            if matches!(self.presence, Presence::Absent { .. }) {
                return Ok(Status::UNSPECIFIED.to_bytes().to_vec());
            }
        }
    }

    /// The next text or binary message; asks for a sign of life when it is quiet.
    async fn next_message(&mut self) -> Result<Message, ChannelError> {
        loop {
            tokio::select! {
                message = self.socket.next() => {
                    self.heard = Instant::now();
                    match message.ok_or(ChannelError::Closed)?? {
                        message @ (Message::Text(_) | Message::Binary(_)) => return Ok(message),
                        Message::Close(_) => return Err(ChannelError::Closed),
                        _ => {}
                    }
                }
                _ = self.heartbeat.tick() => {
                    if self.heard.elapsed() > self.silence {
                        return Err(ChannelError::Silent);
                    }
                    self.send(Message::Ping(Vec::new().into())).await?;
                }
            }
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), ChannelError> {
        let sent = timeout(SEND_DEADLINE, self.socket.send(message)).await;
        Ok(sent.map_err(|_| ChannelError::Silent)??)
    }

    fn note(&mut self, text: &str) -> Result<(), ChannelError> {
        self.presence = match serde_json::from_str(text).map_err(|_| ChannelError::Malformed)? {
            Event::Present { atr } if (2..=33).contains(&atr.len()) => Presence::Present { atr },
            Event::Present { .. } => return Err(ChannelError::Malformed),
            Event::Absent { reason } => Presence::Absent { reason },
        };
        Ok(())
    }
}

async fn connect(
    admission: &Admission,
    protocol: Protocol,
) -> Result<WebSocketStream<TlsStream<TcpStream>>, ChannelError> {
    let config = &admission.config;
    let url = host::parse_url(&config.url).map_err(Error::from)?;
    let stream = tls(&url, admission).await?;
    let request = request(&url, admission, protocol)?;
    let (socket, _) = client_async_with_config(request, stream, Some(limits())).await?;
    Ok(socket)
}

async fn tls(url: &Url, admission: &Admission) -> Result<TlsStream<TcpStream>, ChannelError> {
    let client =
        tls::client_config(&admission.config.trust, admission.device.as_ref()).map_err(Error::from)?;
    let invalid = || ChannelError::Connect(io::Error::from(io::ErrorKind::InvalidInput));
    let host = url.host_str().ok_or_else(invalid)?.trim_matches(['[', ']']);
    let port = url.port_or_known_default().ok_or_else(invalid)?;
    let stream = TcpStream::connect((host, port)).await.map_err(ChannelError::Connect)?;
    stream.set_nodelay(true).map_err(ChannelError::Connect)?;
    let name = ServerName::try_from(host.to_owned()).map_err(|_| invalid())?;
    TlsConnector::from(Arc::new(client)).connect(name, stream).await.map_err(ChannelError::Connect)
}

fn request(url: &Url, admission: &Admission, protocol: Protocol) -> Result<Request, ChannelError> {
    let mut url = host::below(url, &["v1", "terminals", &admission.config.terminal, "channel"]);
    url.query_pairs_mut().append_pair("protocol", protocol.name());
    let url = url.as_str().replacen("https:", "wss:", 1);
    let mut request = url.into_client_request()?;
    let bearer = format!("Bearer {}", admission.session.token);
    let mut bearer = HeaderValue::try_from(bearer).map_err(|_| ChannelError::Malformed)?;
    bearer.set_sensitive(true);
    request.headers_mut().insert(header::AUTHORIZATION, bearer);
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    Ok(request)
}

fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(apdu::MAX_RESPONSE))
        .max_frame_size(Some(apdu::MAX_RESPONSE))
}

fn refusal(response: tungstenite::http::Response<Option<Vec<u8>>>) -> ChannelError {
    let status = response.status().as_u16();
    let problem = Problem::parse(status, response.body().as_deref().unwrap_or_default());
    if status == 401 { ChannelError::SessionEnded(problem) } else { ChannelError::Refused(problem) }
}

#[cfg(test)]
#[path = "channel_tests.rs"]
pub(super) mod tests;
