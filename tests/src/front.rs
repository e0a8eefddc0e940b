//! A TLS server between daemon and authority that can refuse requests and lose requests and answers.
//!
//! ```text
//! daemon ──TLS──▶ Front ──mutual TLS──▶ authority
//!                   └ Fault: refuse · drop before forwarding · forward and drop the answer
//! ```

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::authority::Authority;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The authority decides against it (409), without being asked.
    Refuse,
    /// It is lost on its way to the authority.
    LoseRequest,
    /// The authority does it, and its answer is lost.
    LoseAnswer,
}

/// Requests to paths that end so meet this.
type Broken = Arc<Mutex<Option<(&'static str, Fault)>>>;

/// A running front; it ends on drop.
pub struct Front {
    address: SocketAddr,
    directory: TempDir,
    broken: Broken,
    serving: JoinHandle<()>,
}

struct Way {
    broken: Broken,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    authority: String,
}

impl Front {
    /// A front before this authority, without faults.
    pub async fn start(authority: &Authority) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let broken = Broken::default();
        let way = Way {
            broken: broken.clone(),
            acceptor: TlsAcceptor::from(Arc::new(own_tls(&directory.path().join("ca.pem")))),
            connector: TlsConnector::from(Arc::new(host_tls(authority.data()))),
            authority: authority.server.url.strip_prefix("https://").expect("an https URL").into(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let serving = tokio::spawn(serve(listener, Arc::new(way)));
        Self { address, directory, broken, serving }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// File with the certificate that its TLS certificate chains to.
    pub fn trusted(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// From now on requests to paths that end so meet this fault.
    pub fn break_at(&self, path: &'static str, fault: Fault) {
        *self.broken.lock().expect("no panic") = Some((path, fault));
    }

    /// From now on every request reaches the authority and every answer comes back.
    pub fn mend(&self) {
        *self.broken.lock().expect("no panic") = None;
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, way: Arc<Way>) {
    while let Ok((stream, _)) = listener.accept().await {
        let way = way.clone();
        tokio::spawn(async move {
            // Whatever breaks here is a lost request or answer for the daemon.
            let _ = way.exchange(stream).await;
        });
    }
}

impl Way {
    /// One request on a connection of its own.
    async fn exchange(&self, stream: TcpStream) -> io::Result<()> {
        let mut daemon: server::TlsStream<TcpStream> = self.acceptor.accept(stream).await?;
        let request = message(&mut daemon).await?;
        let answer = match self.fault(&request) {
            Some(Fault::LoseRequest) => return Ok(()),
            Some(Fault::Refuse) => b"HTTP/1.1 409 Conflict\r\ncontent-length: 2\r\n\r\nno".to_vec(),
            fault => {
                let answer = self.forward(&request).await?;
                if fault.is_some() {
                    return Ok(());
                }
                answer
            }
        };
        daemon.write_all(&closing(&answer)).await?;
        daemon.shutdown().await
    }

    fn fault(&self, request: &[u8]) -> Option<Fault> {
        let line = String::from_utf8_lossy(request.split(|byte| *byte == b'\r').next()?).into_owned();
        let path = line.split(' ').nth(1)?;
        let broken = *self.broken.lock().expect("no panic");
        broken.filter(|(end, _)| path.ends_with(end)).map(|(_, fault)| fault)
    }

    async fn forward(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let stream = TcpStream::connect(&self.authority).await?;
        let name = "127.0.0.1".try_into().expect("an address");
        let mut authority: client::TlsStream<TcpStream> = self.connector.connect(name, stream).await?;
        authority.write_all(request).await?;
        message(&mut authority).await
    }
}

/// Reads a whole HTTP message with a content length, or none.
async fn message(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        if stream.read_buf(&mut message).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if whole(&message) {
            return Ok(message);
        }
    }
}

fn whole(message: &[u8]) -> bool {
    let Some(head) = message.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&message[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
    message.len() >= head + 4 + length
}

/// The answer with the word that this connection is not used again.
fn closing(answer: &[u8]) -> Vec<u8> {
    let line = answer.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    [&answer[..line], b"connection: close\r\n", &answer[line..]].concat()
}

/// The front's TLS, by a CA of its own whose certificate is written to `ca`.
fn own_tls(ca: &Path) -> ServerConfig {
    let (ca_key, key) =
        (rcgen::KeyPair::generate().expect("a key"), rcgen::KeyPair::generate().expect("a key"));
    let mut parameters = rcgen::CertificateParams::default();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&ca_key).expect("a CA");
    fs::write(ca, authority.pem()).expect("a file");
    let issuer = rcgen::Issuer::new(parameters, ca_key);
    let parameters = rcgen::CertificateParams::new(vec!["127.0.0.1".into()]).expect("an address");
    let certificate = parameters.signed_by(&key, &issuer).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring knows TLS")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a TLS identity")
}

/// The host's TLS to the authority.
fn host_tls(data: &Path) -> ClientConfig {
    let certificate = |name: &str| CertificateDer::from_pem_file(data.join(name)).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(certificate("service-ca.pem")).expect("a CA");
    let key = PrivateKeyDer::from_pem_file(data.join("host.key")).expect("a key");
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring knows TLS")
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate("host.pem")], key)
        .expect("a TLS identity")
}
