//! A running `cardhost serve` with one terminal that has a card, as a terminal sees it.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use reqwest::{Client, Method, Url};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue},
};

const TERMINAL: &str = "bench-terminal";
const SUBPROTOCOL: &str = "apdu.cardhost.v1";

/// The daemon, ended when dropped.
pub struct Daemon {
    url: Url,
    tls: ClientConfig,
    token: String,
    _child: Child,
    _data: TempDir,
}

impl Daemon {
    /// Starts it in a directory of its own, enrols a terminal and makes its first certificate.
    pub async fn start() -> Result<Self> {
        let data = tempfile::tempdir()?;
        let child = serve(data.path()).await?;
        let admin: Value = serde_json::from_slice(&std::fs::read(data.path().join("admin.json"))?)?;
        let url = Url::parse(text(&admin, "url")?)?;
        let ca = text(&admin, "ca_pem")?;
        let (user, password) = (text(&admin, "user")?, text(&admin, "password")?);

        let anonymous = Rest::new(&url, tls(ca, None)?, None)?;
        let session = anonymous.post("v1/sessions", &json!({"user": user, "password": password})).await?;
        let operator = Rest::new(&url, tls(ca, None)?, Some(text(&session, "token")?))?;
        let terminal = format!("v1/terminals/{TERMINAL}");
        operator.put(&terminal, &json!({"owner": user})).await?;
        let (key, csr) = device()?;
        let device = operator.post(&format!("{terminal}/devices"), &json!({"csr": csr})).await?;

        let tls = tls(ca, Some((text(&device, "pem")?, key)))?;
        let anonymous = Rest::new(&url, tls.clone(), None)?;
        let session = anonymous.post("v1/sessions", &json!({"user": user, "password": password})).await?;
        let token = text(&session, "token")?.to_owned();
        let owner = Rest::new(&url, tls.clone(), Some(&token))?;
        let wish = json!({"key_reference": "9A", "algorithm": "P-256"});
        owner.post(&format!("{terminal}/certificates"), &wish).await?;
        Ok(Self { url, tls, token, _child: child, _data: data })
    }

    /// Opens the terminal's channel; the card is present.
    pub async fn channel(&self) -> Result<Channel> {
        let host = self.url.host_str().context("a host in the URL")?;
        let port = self.url.port_or_known_default().context("a port in the URL")?;
        let tcp = TcpStream::connect((host, port)).await?;
        tcp.set_nodelay(true)?;
        let tls = TlsConnector::from(Arc::new(self.tls.clone()));
        let stream = tls.connect(ServerName::try_from(host.to_owned())?, tcp).await?;
        let path = format!("wss://{host}:{port}/v1/terminals/{TERMINAL}/channel?protocol=apdu-gate");
        let mut request = path.into_client_request()?;
        let bearer = HeaderValue::from_str(&format!("Bearer {}", self.token))?;
        request.headers_mut().insert("authorization", bearer);
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
        let (socket, _) = client_async(request, stream).await?;
        let mut channel = Channel(socket);
        channel.wait_present().await?;
        Ok(channel)
    }
}

/// The terminal's channel.
pub struct Channel(WebSocketStream<TlsStream<TcpStream>>);

impl Channel {
    /// One APDU there, one back.
    pub async fn exchange(&mut self, command: &[u8]) -> Result<()> {
        self.0.send(Message::binary(command.to_vec())).await?;
        loop {
            match self.0.next().await {
                Some(Ok(Message::Binary(_))) => return Ok(()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => bail!("unexpected {other:?}"),
            }
        }
    }

    async fn wait_present(&mut self) -> Result<()> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) if text.contains("present") => return Ok(()),
                Some(Ok(Message::Text(_) | Message::Ping(_))) => {}
                other => bail!("unexpected {other:?}"),
            }
        }
    }
}

/// Starts the daemon and waits for its `ready` line.
async fn serve(data: &Path) -> Result<Child> {
    let mut daemon = Command::new(program().await?);
    daemon.arg("serve").arg("--data").arg(data).args(["--listen", "127.0.0.1:0"]);
    let mut child = daemon.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let output = child.stdout.take().context("the daemon's output")?;
    let mut lines = BufReader::new(output).lines();
    while let Some(line) = lines.next_line().await? {
        if line.starts_with("ready") {
            return Ok(child);
        }
    }
    bail!("the daemon does not start")
}

/// The daemon of the same build as this program; built if it is not there.
async fn program() -> Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("cardhost");
    if !program.exists() {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--release", "--package", "cardhost", "--manifest-path", manifest]);
        let target = program.parent().and_then(Path::parent).context("a target directory")?;
        let status = cargo.arg("--target-dir").arg(target).status().await?;
        anyhow::ensure!(status.success() && program.exists(), "cardhost does not build");
    }
    Ok(program)
}

/// Requests with one TLS identity and session.
struct Rest {
    client: Client,
    url: Url,
    token: Option<String>,
}

impl Rest {
    fn new(url: &Url, tls: ClientConfig, token: Option<&str>) -> Result<Self> {
        let client = Client::builder().tls_backend_preconfigured(tls).build()?;
        Ok(Self { client, url: url.clone(), token: token.map(Into::into) })
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.send(Method::POST, path, body).await
    }

    async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.send(Method::PUT, path, body).await
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let mut request = self.client.request(method, self.url.join(path)?).json(body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token).header("idempotency-key", path);
        }
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        anyhow::ensure!(status.is_success(), "{path}: {status}: {text}");
        Ok(if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }
}

/// A device key (PKCS#8, PEM) and its certification request.
fn device() -> Result<(String, String)> {
    let key = rcgen::KeyPair::generate()?;
    let mut request = rcgen::CertificateParams::default();
    request.distinguished_name.push(rcgen::DnType::CommonName, TERMINAL);
    Ok((key.serialize_pem(), request.serialize_request(&key)?.pem()?))
}

fn tls(ca: &str, device: Option<(&str, String)>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(certificate?)?;
    }
    let config = ClientConfig::builder().with_root_certificates(roots);
    let Some((certificate, key)) = device else { return Ok(config.with_no_client_auth()) };
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    Ok(config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes())?)?)
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("{key} in {value}"))
}
