//! The terminal channel: who may open it, what it says, and when it ends.

use std::sync::Arc;

use cardhost::cli::client::{DeviceIdentity, tls};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _},
};

use crate::support::{Client, Daemon, PASSWORD, Refusal, enrol, refusal};

pub type Channel = WebSocketStream<TlsStream<TcpStream>>;

/// A terminal with its device's certificate.
pub struct Terminal {
    pub daemon: Daemon,
    pub client: Client,
    device: String,
    tls: rustls::ClientConfig,
}

impl Terminal {
    pub async fn start() -> Self {
        let daemon = Daemon::start().await;
        let alice = daemon.terminal("till", "alice").await;
        let (device, DeviceIdentity { certificate, key }) = enrol(&alice, "till").await;
        let identity = || Some(DeviceIdentity { certificate: certificate.clone(), key: key.clone_key() });
        let client = daemon.client(identity()).log_in("alice", PASSWORD).await.unwrap();
        let tls = tls(&daemon.administrator_file().ca_pem, identity()).unwrap();
        Self { daemon, client, device, tls }
    }

    /// The channel of the secure element.
    async fn open(&self) -> Result<Channel, Refusal> {
        self.open_on("apdu-gate").await
    }

    /// The channel of this protocol.
    pub async fn open_on(&self, protocol: &str) -> Result<Channel, Refusal> {
        self.open_with(&format!("?protocol={protocol}"), Some("apdu.cardhost.v1"), self.tls.clone()).await
    }

    async fn open_with(
        &self,
        query: &str,
        subprotocol: Option<&str>,
        tls: rustls::ClientConfig,
    ) -> Result<Channel, Refusal> {
        let url = format!("wss://localhost/v1/terminals/till/channel{query}");
        let mut request = url.into_client_request().unwrap();
        let token = self.client.token.as_deref().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        if let Some(subprotocol) = subprotocol {
            request.headers_mut().insert("sec-websocket-protocol", subprotocol.parse().unwrap());
        }
        let stream = TcpStream::connect(self.daemon.host.address()).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.unwrap();
        match client_async(request, stream).await {
            Ok((channel, _)) => Ok(channel),
            Err(Error::Http(response)) => {
                let problem: Value = serde_json::from_slice(response.body().as_deref().unwrap()).unwrap();
                Err(refusal(response.status().as_u16(), problem["title"].as_str().unwrap()))
            }
            Err(error) => panic!("{error}"),
        }
    }
}

pub async fn event(channel: &mut Channel) -> Value {
    let message = message(channel).await;
    serde_json::from_str(message.to_text().unwrap()).unwrap()
}

/// The next message that is no ping: the host pings a channel that is idle, as it may be on a slow machine.
pub async fn message(channel: &mut Channel) -> Message {
    loop {
        match channel.next().await.unwrap().unwrap() {
            Message::Ping(_) => continue,
            message => return message,
        }
    }
}

/// Waits until the host has closed the channel, and its reason.
async fn closed(channel: &mut Channel) -> String {
    loop {
        match channel.next().await.unwrap().unwrap() {
            Message::Close(frame) => return frame.unwrap().reason.to_string(),
            _ => continue,
        }
    }
}

#[tokio::test]
async fn a_terminal_without_a_card_is_told_so_and_each_command_is_answered() {
    let terminal = Terminal::start().await;
    let mut channel = terminal.open().await.unwrap();
    let absent = json!({ "event": "absent", "reason": "the terminal has no card" });
    assert_eq!(event(&mut channel).await, absent);
    for command in [&[0x00, 0xA4, 0x04, 0x00][..], &[], &[0xFF]] {
        channel.send(Message::binary(command.to_vec())).await.unwrap();
        assert_eq!(message(&mut channel).await, Message::binary(vec![0x6F, 0x00]));
    }
    for operation in ["power-off", "power-on", "reset"] {
        channel.send(Message::text(json!({ "op": operation }).to_string())).await.unwrap();
    }
    channel.close(None).await.unwrap();
}

#[tokio::test]
async fn a_channel_needs_the_terminals_own_certificate() {
    let terminal = Terminal::start().await;
    let plain = terminal.daemon.anonymous().log_in("alice", PASSWORD).await.unwrap();
    let without = Terminal { client: plain, ..terminal };
    let tls = tls(&without.daemon.administrator_file().ca_pem, None).unwrap();
    let refused = without.open_with("", Some("apdu.cardhost.v1"), tls).await;
    assert_eq!(refused.err(), Some(refusal(403, "device-certificate-required")));
}

#[tokio::test]
async fn a_channel_is_a_websocket_of_its_subprotocol_on_a_known_protocol() {
    let terminal = Terminal::start().await;
    for (query, subprotocol, expected) in [
        ("", None, refusal(426, "upgrade-required")),
        ("", Some("other"), refusal(426, "upgrade-required")),
        ("?protocol=usb", Some("apdu.cardhost.v1"), refusal(422, "invalid-value")),
        ("?protocol=spi&more=1", Some("apdu.cardhost.v1"), refusal(422, "invalid-value")),
    ] {
        let refused = terminal.open_with(query, subprotocol, terminal.tls.clone()).await;
        assert_eq!(refused.err(), Some(expected), "{query} {subprotocol:?}");
    }
    let get = terminal.client.get("/v1/terminals/till/channel").await;
    assert_eq!(get, Err(refusal(426, "upgrade-required")));
}

#[tokio::test]
async fn there_is_one_channel_for_each_protocol() {
    let terminal = Terminal::start().await;
    let _first = terminal.open().await.unwrap();
    assert_eq!(terminal.open().await.err(), Some(refusal(409, "channel-in-use")));
    terminal.open_on("iso7816-t1").await.unwrap();
}

#[tokio::test]
async fn a_channel_ends_when_the_user_logs_out_or_the_device_is_removed() {
    let terminal = Terminal::start().await;
    let mut channel = terminal.open().await.unwrap();
    terminal.client.delete("/v1/sessions/current").await.unwrap();
    assert_eq!(closed(&mut channel).await, "the session or the device is no longer admitted");
    let terminal = Terminal::start().await;
    let mut channel = terminal.open().await.unwrap();
    let path = format!("/v1/terminals/till/devices/{}", terminal.device);
    terminal.daemon.administrator().await.delete(&path).await.unwrap();
    assert_eq!(closed(&mut channel).await, "the session or the device is no longer admitted");
}

#[tokio::test]
async fn a_channel_ends_when_the_terminal_is_assigned_to_another_user() {
    let terminal = Terminal::start().await;
    let mut channel = terminal.open().await.unwrap();
    terminal.daemon.terminal("till", "bob").await;
    assert_eq!(closed(&mut channel).await, "the session or the device is no longer admitted");
}

#[tokio::test]
async fn what_is_no_message_of_a_channel_ends_it() {
    let terminal = Terminal::start().await;
    let mut channel = terminal.open().await.unwrap();
    channel.send(Message::text("{\"op\":\"explode\"}")).await.unwrap();
    assert_eq!(closed(&mut channel).await, "the terminal sent what is no message of a channel");
}

#[tokio::test]
async fn a_command_beyond_every_apdu_ends_the_channel_and_not_the_daemon() {
    let terminal = Terminal::start().await;
    let mut channel = terminal.open().await.unwrap();
    channel.send(Message::binary(vec![0; 70_000])).await.unwrap();
    while let Some(Ok(_)) = channel.next().await {}
    terminal.client.get("/v1/terminals").await.unwrap();
}

#[tokio::test]
async fn the_daemons_end_closes_channels() {
    let Terminal { daemon, client, device, tls } = Terminal::start().await;
    let terminal = Terminal { daemon, client, device, tls };
    let mut channel = terminal.open().await.unwrap();
    let Daemon { host, directory: _directory } = terminal.daemon;
    let ((), reason) = tokio::join!(host.stop(), closed(&mut channel));
    assert_eq!(reason, "the daemon ends");
}
