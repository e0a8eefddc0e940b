//! The REST client of the operator's commands and the demonstration.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use reqwest::{Method, StatusCode};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{
    host::{AdministratorFile, AdministratorFileError},
    server::provider,
};

/// Longest wait for an answer: enrolment at a slow authority included.
const ANSWER: Duration = Duration::from_secs(120);

/// Which daemon to talk to, and as whom. Without any of these the data directory's admin.json says it.
#[derive(Args, Clone)]
pub struct Target {
    /// Data directory whose admin.json names the daemon and the administrator.
    #[arg(long, value_name = "DIR", default_value = "cardhost-data", env = "CARDHOST_DATA", global = true)]
    pub data: PathBuf,
    /// The daemon's URL.
    #[arg(long, env = "CARDHOST_URL", global = true)]
    url: Option<String>,
    /// The user to log in as; its password comes from CARDHOST_PASSWORD.
    #[arg(id = "login-user", long = "user", env = "CARDHOST_USER", global = true)]
    user: Option<String>,
    /// File with the certificate to trust (PEM).
    #[arg(long, value_name = "FILE", env = "CARDHOST_CA", global = true)]
    ca: Option<PathBuf>,
}

/// Why a command got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing tells which daemon to talk to.
    #[error(transparent)]
    Administrator(#[from] AdministratorFileError),
    /// A user without CARDHOST_PASSWORD.
    #[error("set CARDHOST_PASSWORD to the password of {0}")]
    NoPassword(String),
    /// The certificate to trust is not usable.
    #[error("the certificate to trust is not usable")]
    Trust(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No connection, or it broke.
    #[error("cannot reach the daemon at {url}")]
    Unreachable {
        /// The daemon.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The daemon refused.
    #[error("{title}: {detail}")]
    Refused {
        /// The problem's stable name.
        title: String,
        /// What happened.
        detail: String,
    },
}

/// What is needed to log in. No `Debug`: it holds the password.
pub struct Credentials {
    /// The daemon.
    pub url: String,
    /// The user.
    pub user: String,
    /// Its password.
    pub password: Zeroizing<String>,
    /// The certificate to trust, PEM.
    pub ca_pem: String,
}

impl Target {
    /// The credentials: what is given, the rest from admin.json.
    pub fn credentials(&self) -> Result<Credentials, ClientError> {
        let file = || AdministratorFile::read(&self.data.join("admin.json"));
        let (user, password) = match &self.user {
            Some(user) => (user.clone(), password_of(user)?),
            None => file().map(|file| (file.user.clone(), Zeroizing::new(file.password.clone())))?,
        };
        let url = self.url.clone().map_or_else(|| file().map(|file| file.url.clone()), Ok)?;
        let ca_pem = match &self.ca {
            Some(path) => std::fs::read_to_string(path).map_err(|error| ClientError::Trust(error.into()))?,
            None => file()?.ca_pem.clone(),
        };
        Ok(Credentials { url, user, password, ca_pem })
    }
}

fn password_of(user: &str) -> Result<Zeroizing<String>, ClientError> {
    std::env::var("CARDHOST_PASSWORD").map(Zeroizing::new).map_err(|_| ClientError::NoPassword(user.into()))
}

/// A logged-in client.
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: Zeroizing<String>,
}

impl Client {
    /// A client that is not logged in; with a device's identity its connections are mutually authenticated.
    pub fn anonymous(url: &str, ca_pem: &str, device: Option<DeviceIdentity>) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(ca_pem, device)?)
            .timeout(ANSWER)
            .no_proxy()
            .build()
            .map_err(|error| ClientError::Trust(error.into()))?;
        Ok(Self { http, url: url.to_owned(), token: Zeroizing::default() })
    }

    /// Logs in; with a device's identity the connection is mutually authenticated.
    pub async fn log_in(
        credentials: &Credentials,
        device: Option<DeviceIdentity>,
    ) -> Result<Self, ClientError> {
        let mut client = Self::anonymous(&credentials.url, &credentials.ca_pem, device)?;
        let login = json!({ "user": credentials.user, "password": *credentials.password });
        let session = client.post("/v1/sessions", &login).await?;
        client.token = Zeroizing::new(session["token"].as_str().unwrap_or_default().into());
        Ok(client)
    }

    /// The session's token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.send(Method::GET, path, None).await
    }

    /// PUT.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.send(Method::PUT, path, Some(body)).await
    }

    /// POST.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.send(Method::POST, path, Some(body)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.send(Method::DELETE, path, None).await
    }

    /// Ends the session.
    pub async fn log_out(self) -> Result<(), ClientError> {
        self.delete("/v1/sessions/current").await.map(drop)
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if !self.token.is_empty() {
            request = request.bearer_auth(&*self.token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let unreachable = |source| ClientError::Unreachable { url: self.url.clone(), source };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body: Value = match status {
            StatusCode::NO_CONTENT => Value::Null,
            _ => response.json().await.map_err(unreachable)?,
        };
        if status.is_success() { Ok(body) } else { Err(refused(&body)) }
    }
}

fn refused(problem: &Value) -> ClientError {
    let text = |member: &str| problem[member].as_str().unwrap_or("unknown").to_owned();
    ClientError::Refused { title: text("title"), detail: text("detail") }
}

/// A terminal's client certificate and key.
pub struct DeviceIdentity {
    /// The certificate, DER.
    pub certificate: CertificateDer<'static>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

/// A TLS 1.3 client that trusts this certificate alone.
pub fn tls(ca_pem: &str, device: Option<DeviceIdentity>) -> Result<rustls::ClientConfig, ClientError> {
    let config = || -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes())?)?;
        let config = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(Arc::new(roots));
        Ok(match device {
            Some(device) => config.with_client_auth_cert(vec![device.certificate], device.key)?,
            None => config.with_no_client_auth(),
        })
    };
    config().map_err(ClientError::Trust)
}
