//! A REST client, with a device's certificate or without.

use std::sync::Arc;

use reqwest::{Method, RequestBuilder, Response};
use rustls::{ClientConfig, RootCertStore, crypto::ring, version::TLS13};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::{Value, json};

use crate::PATIENCE;

/// A device's certificate and key, DER.
#[derive(Clone)]
pub struct Device {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Device {
    /// A certificate (PEM) and its key.
    pub fn new(pem: &str, key: &rcgen::KeyPair) -> Self {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
        Self { certificate, key: key.serialize_der() }
    }
}

/// What a refused request answered: status and problem title.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Stable name of the problem.
    pub title: String,
}

/// A refusal, to compare with.
pub fn refusal(status: u16, title: &str) -> Refusal {
    Refusal { status, title: title.into() }
}

/// TLS 1.3 that trusts this CA alone.
pub fn tls(ca_pem: &str, device: Option<&Device>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).expect("a CA")).expect("a CA");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("ring knows TLS 1.3")
        .with_root_certificates(roots);
    match device {
        None => config.with_no_client_auth(),
        Some(Device { certificate, key }) => {
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.clone()));
            config.with_client_auth_cert(vec![certificate.clone()], key).expect("a device's identity")
        }
    }
}

/// A REST client.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    /// The session.
    pub token: Option<String>,
}

impl Client {
    /// A client that is not logged in.
    pub fn new(url: &str, ca_pem: &str, device: Option<&Device>) -> Self {
        // A connection for each request: a daemon that starts again must not be met on an old one.
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(ca_pem, device))
            .pool_max_idle_per_host(0)
            .timeout(PATIENCE)
            .no_proxy()
            .build();
        Self { http: http.expect("a client"), url: url.into(), token: None }
    }

    /// Logs in.
    pub async fn log_in(mut self, user: &str, password: &str) -> Result<Self, Refusal> {
        let session = self.post("/v1/sessions", json!({ "user": user, "password": password })).await?;
        self.token = Some(session["token"].as_str().expect("a token").into());
        Ok(self)
    }

    /// A request with the session's token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Result<Value, Refusal> {
        send(self.request(Method::GET, path)).await
    }

    /// PUT.
    pub async fn put(&self, path: &str, body: Value) -> Result<Value, Refusal> {
        send(self.request(Method::PUT, path).json(&body)).await
    }

    /// POST.
    pub async fn post(&self, path: &str, body: Value) -> Result<Value, Refusal> {
        send(self.request(Method::POST, path).json(&body)).await
    }

    /// POST with an idempotency key.
    pub async fn post_once(&self, path: &str, key: &str, body: Value) -> Result<Value, Refusal> {
        send(self.request(Method::POST, path).header("idempotency-key", key).json(&body)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Result<Value, Refusal> {
        send(self.request(Method::DELETE, path)).await
    }
}

/// What came of a request whose daemon or card may end at any moment.
#[derive(Debug)]
pub enum Attempt {
    /// It succeeded; the answer's body.
    Done(Value),
    /// The daemon says that it did not succeed.
    Refused(Refusal),
    /// No whole answer came.
    Lost,
}

/// Sends a request to a daemon that may end meanwhile.
pub async fn attempt(request: RequestBuilder) -> Attempt {
    let Ok(response) = request.send().await else { return Attempt::Lost };
    let status = response.status();
    let Ok(text) = response.text().await else { return Attempt::Lost };
    let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    match (status.is_success(), body["title"].as_str()) {
        (true, _) => Attempt::Done(body),
        (false, Some(title)) => Attempt::Refused(refusal(status.as_u16(), title)),
        (false, None) => panic!("{status} without a problem: {text}"),
    }
}

async fn send(request: RequestBuilder) -> Result<Value, Refusal> {
    answer(request.send().await.expect("the daemon answers")).await
}

/// The body of a success, or the problem, which must have the form of RFC 9457.
pub async fn answer(response: Response) -> Result<Value, Refusal> {
    let status = response.status();
    let media_type = response.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
    let text = response.text().await.expect("the whole answer");
    if status.is_success() {
        return Ok(serde_json::from_str(&text).unwrap_or(Value::Null));
    }
    assert_eq!(media_type.as_deref(), Some("application/problem+json"), "{text}");
    let problem: Value = serde_json::from_str(&text).expect("a problem");
    assert_eq!(problem["status"], status.as_u16(), "{text}");
    Err(refusal(status.as_u16(), problem["title"].as_str().expect("a title")))
}
