//! A daemon of its own for each test, and clients of it.

use std::{net::SocketAddr, path::Path, sync::Arc};

use cardhost::{
    card::Settings,
    cli::client::{DeviceIdentity, tls},
    host::{AdministratorFile, Config, Host},
    server::Limits,
    store::quotas::Quotas,
};
use cardhost_wire::{custody::Custody, launch::UserIds};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_rustls::TlsConnector;

use crate::isolation::isolation;

/// Password of every user that the tests make.
pub const PASSWORD: &str = "a good password";

/// A running daemon in a temporary data directory.
pub struct Daemon {
    pub host: Host,
    pub directory: TempDir,
}

/// What a refused request answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub title: String,
}

pub fn config(data: &Path) -> Config {
    Config {
        data: data.into(),
        anchor: None,
        accept_new_anchor: false,
        host_key: Custody::File,
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        tls: None,
        authority: None,
        card_users: UserIds::DEFAULT,
        guest_image: None,
        isolation: isolation(),
        control_group: None,
        cards: Settings::default(),
        quotas: Quotas::default(),
        default_keys: false,
        limits: Limits::default(),
    }
}

impl Daemon {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = config(directory.path());
        change(&mut config);
        Self { host: Host::start(config).await.unwrap(), directory }
    }

    /// Stops the daemon and starts another one on its data directory.
    pub async fn restart(self) -> Self {
        let Self { host, directory } = self;
        host.stop().await;
        let host = Host::start(config(directory.path())).await.unwrap();
        Self { host, directory }
    }

    pub fn administrator_file(&self) -> AdministratorFile {
        AdministratorFile::read(&self.directory.path().join("admin.json")).unwrap()
    }

    /// A client that is not logged in.
    pub fn anonymous(&self) -> Client {
        self.client(None)
    }

    /// A client with a device's certificate that is not logged in.
    pub fn client(&self, device: Option<DeviceIdentity>) -> Client {
        let config = tls(&self.administrator_file().ca_pem, device).unwrap();
        let http = reqwest::Client::builder().tls_backend_preconfigured(config).no_proxy().build().unwrap();
        Client { http, url: self.host.url().into(), token: None }
    }

    pub async fn administrator(&self) -> Client {
        let file = self.administrator_file();
        self.anonymous().log_in(&file.user, &file.password).await.unwrap()
    }

    /// Makes this user with the role `user`, and logs it in.
    pub async fn user(&self, name: &str) -> Client {
        let setting = json!({ "password": PASSWORD, "role": "user" });
        self.administrator().await.put(&format!("/v1/users/{name}"), setting).await.unwrap();
        self.anonymous().log_in(name, PASSWORD).await.unwrap()
    }

    /// Makes this terminal and its user, and logs the user in.
    pub async fn terminal(&self, terminal: &str, owner: &str) -> Client {
        let user = self.user(owner).await;
        let setting = json!({ "owner": owner });
        self.administrator().await.put(&format!("/v1/terminals/{terminal}"), setting).await.unwrap();
        user
    }

    /// A TLS connection with nothing said on it yet.
    pub async fn connect(&self) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
        let config = tls(&self.administrator_file().ca_pem, None).unwrap();
        let stream = tokio::net::TcpStream::connect(self.host.address()).await.unwrap();
        let name = "localhost".try_into().unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }
}

/// A REST client.
#[derive(Clone)]
pub struct Client {
    pub http: reqwest::Client,
    pub url: String,
    pub token: Option<String>,
}

impl Client {
    pub async fn log_in(mut self, user: &str, password: &str) -> Result<Self, Refusal> {
        let session = self.post("/v1/sessions", json!({ "user": user, "password": password })).await?;
        self.token = Some(session["token"].as_str().unwrap().into());
        Ok(self)
    }

    /// The same session on connections of another client.
    pub fn with_token_of(mut self, other: &Self) -> Self {
        self.token.clone_from(&other.token);
        self
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> Result<Value, Refusal> {
        answer(self.request(Method::GET, path).send().await.unwrap()).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Result<Value, Refusal> {
        answer(self.request(Method::PUT, path).json(&body).send().await.unwrap()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Result<Value, Refusal> {
        answer(self.request(Method::POST, path).json(&body).send().await.unwrap()).await
    }

    pub async fn post_with_key(&self, path: &str, key: &str, body: Value) -> Result<Value, Refusal> {
        let request = self.request(Method::POST, path).header("idempotency-key", key).json(&body);
        answer(request.send().await.unwrap()).await
    }

    pub async fn delete(&self, path: &str) -> Result<Value, Refusal> {
        answer(self.request(Method::DELETE, path).send().await.unwrap()).await
    }
}

/// The body of a success, or the problem; each problem must have the form of RFC 9457.
pub async fn answer(response: Response) -> Result<Value, Refusal> {
    let status = response.status();
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let media_type = response.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
    let text = response.text().await.unwrap();
    if status.is_success() {
        return Ok(serde_json::from_str(&text).unwrap_or(Value::Null));
    }
    assert_eq!(media_type.as_deref(), Some("application/problem+json"), "{text}");
    let problem: Value = serde_json::from_str(&text).unwrap();
    let title = problem["title"].as_str().unwrap().to_owned();
    assert_eq!(problem["type"], format!("urn:cardhost:problem:{title}"));
    assert_eq!(problem["status"], status.as_u16());
    assert_eq!(problem["instance"], format!("urn:cardhost:request:{id}"));
    Err(Refusal { status, title })
}

pub fn refusal(status: u16, title: &str) -> Refusal {
    Refusal { status: StatusCode::from_u16(status).unwrap(), title: title.into() }
}

/// A device key and a certification request for it.
pub fn device_request() -> (rcgen::KeyPair, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    (key, request)
}

/// Enrols a device key for the terminal and gives its identity.
pub async fn enrol(client: &Client, terminal: &str) -> (String, DeviceIdentity) {
    let (key, csr) = device_request();
    let path = format!("/v1/terminals/{terminal}/devices");
    let device = client.post(&path, json!({ "csr": csr })).await.unwrap();
    let pem = device["pem"].as_str().unwrap();
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    (device["id"].as_str().unwrap().into(), DeviceIdentity { certificate, key })
}
