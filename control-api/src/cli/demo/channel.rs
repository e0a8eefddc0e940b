//! The terminal's end of the channel.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use cardhost_wire::apdu::{CommandApdu, ResponseApdu};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest as _},
};

/// Longest wait for anything from the host.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open channel to a card.
pub(super) struct Channel(WebSocketStream<TlsStream<TcpStream>>);

impl Channel {
    /// Opens the APDU gate's channel of this terminal.
    pub(super) async fn open(
        url: &str,
        terminal: &str,
        token: &str,
        tls: rustls::ClientConfig,
    ) -> anyhow::Result<Self> {
        let authority = url.strip_prefix("https://").context("the daemon's URL begins with https")?;
        let target = format!("wss://{authority}/v1/terminals/{terminal}/channel?protocol=apdu-gate");
        let mut request = target.into_client_request()?;
        let headers = request.headers_mut();
        headers.insert("authorization", format!("Bearer {token}").parse()?);
        headers.insert("sec-websocket-protocol", "apdu.cardhost.v1".parse()?);
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(Arc::new(tls)).connect("localhost".try_into()?, stream).await?;
        let (channel, _) = tokio_tungstenite::client_async(request, stream).await?;
        Ok(Self(channel))
    }

    /// Waits for this event.
    pub(super) async fn expect(&mut self, event: &str) -> anyhow::Result<Value> {
        let said = match self.next().await? {
            Message::Text(text) => serde_json::from_str::<Value>(&text)?,
            other => anyhow::bail!("the host said {other:?} instead of the event {event}"),
        };
        ensure!(said["event"] == event, "the host said {said} instead of {event}");
        Ok(said)
    }

    /// Exchanges one APDU.
    pub(super) async fn transmit(&mut self, command: &CommandApdu<'_>) -> anyhow::Result<ResponseApdu> {
        self.0.send(Message::Binary(command.to_bytes().into())).await?;
        match self.next().await? {
            Message::Binary(response) => Ok(ResponseApdu::parse(&response)?),
            other => anyhow::bail!("the host said {other:?} instead of a response"),
        }
    }

    /// Ends the channel.
    pub(super) async fn close(mut self) -> anyhow::Result<()> {
        Ok(self.0.close(None).await?)
    }

    async fn next(&mut self) -> anyhow::Result<Message> {
        loop {
            let message = timeout(PATIENCE, self.0.next()).await.context("the host says nothing")?;
            match message.context("the host closed the channel")?? {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return Ok(message),
            }
        }
    }
}
