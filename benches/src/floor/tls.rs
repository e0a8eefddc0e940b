//! A WebSocket over TLS 1.3 on loopback that sends every message back, from a process of its own as the daemon is one.

use std::{process::Stdio, sync::Arc};

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async, tungstenite::Message};

/// The client's end; the server's process ends with it.
pub struct Echo {
    socket: WebSocketStream<TlsStream<TcpStream>>,
    _server: Child,
}

impl Echo {
    /// Starts this program again as the server, by `subcommand`, and connects to it.
    pub async fn connect(subcommand: &str) -> Result<Self> {
        let mut server = Command::new(std::env::current_exe()?);
        let mut server = server.arg(subcommand).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let mut lines = BufReader::new(server.stdout.take().context("the server's output")?).lines();
        let address = lines.next_line().await?.context("the server's address")?;
        let certificate = hex::decode(lines.next_line().await?.context("the server's certificate")?)?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(certificate))?;
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::new(client));
        let tls = connector.connect(ServerName::try_from("localhost")?, tcp).await?;
        let (socket, _) = client_async("wss://localhost/", tls).await?;
        Ok(Self { socket, _server: server })
    }

    /// One message there and back.
    pub async fn exchange(&mut self, message: &[u8]) -> Result<()> {
        self.socket.send(Message::binary(message.to_vec())).await?;
        match self.socket.next().await {
            Some(Ok(Message::Binary(_))) => Ok(()),
            other => bail!("unexpected {other:?}"),
        }
    }
}

/// The server: prints its address and its certificate (DER, hex), one a line, and serves one client.
pub async fn serve() -> Result<()> {
    let key = rcgen::generate_simple_self_signed(["localhost".into()])?;
    let certificate = key.cert.der().clone();
    let private = PrivateKeyDer::Pkcs8(key.signing_key.serialize_der().into());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}\n{}", listener.local_addr()?, hex::encode(&certificate));
    let server =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], private)?;
    let (tcp, _) = listener.accept().await?;
    tcp.set_nodelay(true)?;
    let mut socket = accept_async(TlsAcceptor::from(Arc::new(server)).accept(tcp).await?).await?;
    // The client just goes when it has measured enough.
    while let Some(Ok(message)) = socket.next().await {
        if message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}
