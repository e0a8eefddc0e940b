//! A running `cardhost serve` and terminals with cards, as operator and terminals see them.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use cardhost_terminal::pairing::certificate::Identity;
use futures_util::{SinkExt, StreamExt};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
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

use crate::card::PIN;

const SUBPROTOCOL: &str = "apdu.cardhost.v1";
/// The management key of every card, AES-256.
pub const MANAGEMENT_KEY: [u8; 32] = [0x5A; 32];

/// The daemon, ended when dropped.
pub struct Daemon {
    url: Url,
    ca: String,
    user: String,
    password: String,
    operator: Rest,
    child: Child,
    data: TempDir,
}

/// The data of a daemon that was ended.
pub struct Stopped {
    data: TempDir,
    /// Its administrator.
    pub user: String,
}

/// A terminal with its card, ready for its channel.
pub struct Terminal {
    name: String,
    url: Url,
    tls: ClientConfig,
    token: String,
}

impl Stopped {
    /// Where the data are.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// Starts the daemon again.
    pub async fn restart(self) -> Result<Daemon> {
        let child = serve(self.data.path()).await?;
        Daemon::connect(child, self.data).await
    }
}

impl Daemon {
    /// Starts it in a directory of its own.
    pub async fn start() -> Result<Self> {
        let data = tempfile::tempdir()?;
        let child = serve(data.path()).await?;
        Self::connect(child, data).await
    }

    /// Ends it as an operator does; its data stay.
    pub async fn stop(mut self) -> Result<Stopped> {
        let id = self.child.id().context("a daemon that runs")?;
        kill(Pid::from_raw(id.try_into()?), Signal::SIGTERM)?;
        let ended = self.child.wait().await?;
        anyhow::ensure!(ended.success(), "the daemon ends with {ended}");
        Ok(Stopped { data: self.data, user: self.user })
    }

    async fn connect(child: Child, data: TempDir) -> Result<Self> {
        let admin: Value = serde_json::from_slice(&std::fs::read(data.path().join("admin.json"))?)?;
        let member = |name| text(&admin, name).map(str::to_owned);
        let (url, ca) = (Url::parse(&member("url")?)?, member("ca_pem")?);
        let (user, password) = (member("user")?, member("password")?);
        let anonymous = Rest::new(&url, tls(&ca, None)?)?;
        let operator = anonymous.log_in(&user, &password).await?;
        Ok(Self { url, ca, user, password, operator, child, data })
    }

    /// Makes a terminal and its first certificate, in slot 9A, and one in 9E, whose key needs no PIN.
    pub async fn terminal(&self, name: &str) -> Result<Terminal> {
        self.operator.put(&format!("v1/terminals/{name}"), &json!({"owner": self.user})).await?;
        let (terminal, owner) = self.enrol(name).await?;
        let certificates = format!("v1/terminals/{name}/certificates");
        let key = hex::encode(MANAGEMENT_KEY);
        let first = json!({"key_reference": "9A", "algorithm": "P-256", "management_key": key});
        owner.post(&certificates, &first).await?;
        let second = json!({"key_reference": "9E", "algorithm": "P-256"});
        owner.post(&certificates, &second).await?;
        Ok(terminal)
    }

    /// Makes a terminal with a certified pairing key, and its first certificate, in slot 9A; the PIN is [`PIN`].
    pub async fn terminal_to_pair(&self, name: &str) -> Result<(Terminal, Identity)> {
        self.operator.put(&format!("v1/terminals/{name}"), &json!({"owner": self.user})).await?;
        let (pairing_key, pairing_csr) = device(name)?;
        let (key, csr) = device(name)?;
        let (terminal, owner, device) =
            self.enrol_by(name, key, &json!({"csr": csr, "pairing_csr": pairing_csr})).await?;
        let pairing = &device["pairing"];
        let (certificate, authority) = (text(pairing, "pem")?, text(pairing, "authority_pem")?);
        let identity = Identity::from_pem(&pairing_key, certificate, authority).context("usable PEM")?;
        let pin = std::str::from_utf8(PIN)?;
        let first = json!({"key_reference": "9A", "algorithm": "P-256", "pin": pin});
        owner.post(&format!("v1/terminals/{name}/certificates"), &first).await?;
        Ok((terminal, identity))
    }

    /// Enrols a device of a terminal and logs its user in there, for the requests that follow.
    pub async fn enrol(&self, name: &str) -> Result<(Terminal, Rest)> {
        let (key, csr) = device(name)?;
        let (terminal, owner, _) = self.enrol_by(name, key, &json!({"csr": csr})).await?;
        Ok((terminal, owner))
    }

    async fn enrol_by(&self, name: &str, key: String, request: &Value) -> Result<(Terminal, Rest, Value)> {
        let device = self.operator.post(&format!("v1/terminals/{name}/devices"), request).await?;
        let tls = tls(&self.ca, Some((text(&device, "pem")?, key)))?;
        let owner = Rest::new(&self.url, tls.clone())?.log_in(&self.user, &self.password).await?;
        let token = owner.token.clone().context("logged in")?;
        Ok((Terminal { name: name.into(), url: self.url.clone(), tls, token }, owner, device))
    }

    /// Memory that its process has resident, KiB (proc(5), `VmRSS`).
    pub fn resident(&self) -> Result<u64> {
        let id = self.child.id().context("a daemon that runs")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// The operator's requests.
    pub fn operator(&self) -> &Rest {
        &self.operator
    }

    /// Where it keeps its data.
    pub fn data(&self) -> &Path {
        self.data.path()
    }
}

impl Terminal {
    /// Opens the terminal's first channel; the card is present.
    pub async fn channel(&self) -> Result<Channel> {
        self.channel_of("apdu-gate").await
    }

    /// Opens the terminal's channel of a protocol; the card is present.
    pub async fn channel_of(&self, protocol: &str) -> Result<Channel> {
        let host = self.url.host_str().context("a host in the URL")?;
        let port = self.url.port_or_known_default().context("a port in the URL")?;
        let tcp = TcpStream::connect((host, port)).await?;
        tcp.set_nodelay(true)?;
        let tls = TlsConnector::from(Arc::new(self.tls.clone()));
        let stream = tls.connect(ServerName::try_from(host.to_owned())?, tcp).await?;
        let path = format!("wss://{host}:{port}/v1/terminals/{}/channel?protocol={protocol}", self.name);
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
    pub async fn exchange(&mut self, command: &[u8]) -> Result<Vec<u8>> {
        self.0.send(Message::binary(command.to_vec())).await?;
        loop {
            match self.0.next().await {
                Some(Ok(Message::Binary(response))) => return Ok(response.to_vec()),
                Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_))) => {}
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
    daemon.env("CARDHOST_LOG", "warn").arg("serve").arg("--data").arg(data).args(["--listen", "127.0.0.1:0"]);
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
pub struct Rest {
    client: Client,
    url: Url,
    token: Option<String>,
}

impl Rest {
    fn new(url: &Url, tls: ClientConfig) -> Result<Self> {
        let client = Client::builder().tls_backend_preconfigured(tls).build()?;
        Ok(Self { client, url: url.clone(), token: None })
    }

    async fn log_in(mut self, user: &str, password: &str) -> Result<Self> {
        let session = self.post("v1/sessions", &json!({"user": user, "password": password})).await?;
        self.token = Some(text(&session, "token")?.into());
        Ok(self)
    }

    /// GET, as text.
    pub async fn page(&self, path: &str) -> Result<String> {
        let request = self.client.get(self.url.join(path)?);
        let response = request.bearer_auth(self.token.as_deref().unwrap_or_default()).send().await?;
        Ok(response.error_for_status()?.text().await?)
    }

    /// GET of JSON.
    pub async fn get(&self, path: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.page(path).await?)?)
    }

    /// POST.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.send(Method::POST, path, body).await
    }

    async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.send(Method::PUT, path, body).await
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let mut request = self.client.request(method, self.url.join(path)?).json(body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        anyhow::ensure!(status.is_success(), "{path}: {status}: {text}");
        Ok(if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }
}

/// A device key (PKCS#8, PEM) and its certification request.
fn device(name: &str) -> Result<(String, String)> {
    let key = rcgen::KeyPair::generate()?;
    let mut request = rcgen::CertificateParams::default();
    request.distinguished_name.push(rcgen::DnType::CommonName, name);
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
