//! A WebSocket over TLS 1.3 on loopback that sends every message back.

use std::sync::Arc;

use anyhow::{Result, bail};
use futures_util::{SinkExt, StreamExt};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{PrivateKeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async, tungstenite::Message};

/// The client's end.
pub struct Echo(WebSocketStream<TlsStream<TcpStream>>);

impl Echo {
    /// Starts the server as a task and connects to it.
    pub async fn connect() -> Result<Self> {
        let key = rcgen::generate_simple_self_signed(["localhost".into()])?;
        let certificate = key.cert.der().clone();
        let private = PrivateKeyDer::Pkcs8(key.signing_key.serialize_der().into());
        let server = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], private)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(server))));
        let mut roots = RootCertStore::empty();
        roots.add(certificate)?;
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::new(client));
        let tls = connector.connect(ServerName::try_from("localhost")?, tcp).await?;
        let (socket, _) = client_async("wss://localhost/", tls).await?;
        Ok(Self(socket))
    }

    /// One message there and back.
    pub async fn exchange(&mut self, message: &[u8]) -> Result<()> {
        self.0.send(Message::binary(message.to_vec())).await?;
        match self.0.next().await {
            Some(Ok(Message::Binary(_))) => Ok(()),
            other => bail!("unexpected {other:?}"),
        }
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor) -> Result<()> {
    let (tcp, _) = listener.accept().await?;
    tcp.set_nodelay(true)?;
    let mut socket = accept_async(acceptor.accept(tcp).await?).await?;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}
