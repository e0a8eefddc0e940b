//! A terminal's end of the channel.

use std::{collections::VecDeque, sync::Arc};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _},
};

use crate::{
    client::{Device, Refusal, refusal, tls},
    soon,
};

/// An open channel.
pub struct Channel {
    socket: WebSocketStream<TlsStream<TcpStream>>,
    events: VecDeque<Value>,
}

impl Channel {
    /// Opens a channel; `path` names its protocol.
    pub async fn open(
        address: &str,
        path: &str,
        token: &str,
        ca_pem: &str,
        device: &Device,
    ) -> Result<Self, Refusal> {
        let url = format!("wss://{address}{path}");
        let mut request = url.into_client_request().expect("a URL");
        let bearer = format!("Bearer {token}").parse().expect("a header");
        request.headers_mut().insert("authorization", bearer);
        let subprotocol = "apdu.cardhost.v1".parse().expect("a header");
        request.headers_mut().insert("sec-websocket-protocol", subprotocol);
        let stream = TcpStream::connect(address).await.expect("the daemon listens");
        let connector = TlsConnector::from(Arc::new(tls(ca_pem, Some(device))));
        let name = "localhost".try_into().expect("a name");
        let stream = soon("TLS", connector.connect(name, stream)).await.expect("TLS");
        match soon("the upgrade", client_async(request, stream)).await {
            Ok((socket, _)) => Ok(Self { socket, events: VecDeque::new() }),
            Err(Error::Http(response)) => {
                let body = response.body().as_deref().unwrap_or_default();
                let problem: Value = serde_json::from_slice(body).expect("a problem");
                Err(refusal(response.status().as_u16(), problem["title"].as_str().expect("a title")))
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The next event.
    pub async fn event(&mut self) -> Value {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            match self.message().await.expect("an open channel") {
                Message::Text(text) => return serde_json::from_str(&text).expect("an event"),
                message => assert!(!message.is_binary(), "a response without a command: {message:?}"),
            }
        }
    }

    /// Waits for an event of this name.
    pub async fn until(&mut self, name: &str) -> Value {
        loop {
            let event = self.event().await;
            if event["event"] == name {
                return event;
            }
        }
    }

    /// Sends bytes that need not be an APDU, as far as the host takes them.
    pub async fn send(&mut self, command: &[u8]) {
        // The host may close the channel before the end.
        let _ = self.socket.send(Message::binary(command.to_vec())).await;
    }

    /// Exchanges bytes that need not be an APDU.
    pub async fn transmit(&mut self, command: &[u8]) -> Vec<u8> {
        self.attempt(command).await.expect("an open channel")
    }

    /// Exchanges bytes with a host that may end meanwhile: `None` if the channel is closed.
    pub async fn attempt(&mut self, command: &[u8]) -> Option<Vec<u8>> {
        self.send(command).await;
        loop {
            match self.message().await? {
                Message::Binary(response) => return Some(response.to_vec()),
                Message::Text(text) => self.events.push_back(serde_json::from_str(&text).expect("an event")),
                _ => {}
            }
        }
    }

    /// Waits until the host tells that the card was reset underneath the channel.
    pub async fn until_reset(&mut self) {
        while self.until("absent").await["reason"] != "the card was reset" {}
        self.until("present").await;
    }

    /// Exchanges an APDU and expects this status word; the response's data.
    pub async fn expect(&mut self, command: &[u8], status: u16) -> Vec<u8> {
        let mut response = self.transmit(command).await;
        let words = response.split_off(response.len().saturating_sub(2));
        assert_eq!(hex::encode_upper(&words), format!("{status:04X}"), "{}", hex::encode(command));
        response
    }

    /// `power-on`, `power-off` or `reset`.
    pub async fn operate(&mut self, operation: &str) {
        let message = Message::text(json!({ "op": operation }).to_string());
        self.socket.send(message).await.expect("an open channel");
    }

    /// Closes the channel and waits until the host has closed it too.
    pub async fn close(mut self) {
        self.socket.close(None).await.expect("an open channel");
        self.closed().await;
    }

    /// Waits until the host has closed the channel or the connection broke.
    pub async fn closed(&mut self) {
        while let Some(Ok(_)) = self.message_or_end().await {}
    }

    async fn message(&mut self) -> Option<Message> {
        self.message_or_end().await?.ok()
    }

    async fn message_or_end(&mut self) -> Option<Result<Message, Error>> {
        soon("the host's next message", self.socket.next()).await
    }
}
