//! HTTP over TLS to the authority, every wait and every answer bounded.

use std::{sync::Arc, time::Duration};

use reqwest::{Client, RequestBuilder, Response, StatusCode, header};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, client::WantsClientCert, crypto::ring};
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::{AuthorityConfigError, AuthorityError, Config};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// An idle connection is not kept longer, so that a restarted authority is met on a new one.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer.
const MAX_ANSWER: usize = 1024 * 1024;
/// Of the authority's words this much is shown.
const MAX_DETAIL: usize = 300;

/// The authority's answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

/// An HTTP client with a base address and credentials.
pub(super) struct Transport {
    client: Client,
    base: String,
    basic: Option<(String, Zeroizing<String>)>,
}

impl Transport {
    pub(super) fn new(config: &Config) -> Result<Self, AuthorityConfigError> {
        let base = config.url.trim_end_matches('/');
        if !base.starts_with("https://") {
            return Err(AuthorityConfigError::Address(config.url.clone()));
        }
        let client = builder().tls_backend_preconfigured(tls(config)?).https_only(true).build()?;
        Ok(Self { client, base: base.into(), basic: config.basic.clone() })
    }

    pub(super) fn get(&self, path: &str) -> RequestBuilder {
        self.authenticated(self.client.get(format!("{}{path}", self.base)))
    }

    pub(super) fn post(&self, path: &str) -> RequestBuilder {
        self.authenticated(self.client.post(format!("{}{path}", self.base)))
    }

    fn authenticated(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.basic {
            Some((user, password)) => request.basic_auth(user, Some(password.as_str())),
            None => request,
        }
    }
}

/// A client with the bounds that hold for every peer.
pub(super) fn builder() -> reqwest::ClientBuilder {
    Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
}

/// Sends a request; success is 200 to 299, everything else an error that says whose fault it is.
pub(super) async fn send(request: RequestBuilder) -> Result<Answer, AuthorityError> {
    let response = request.send().await.map_err(lost)?;
    let (status, retry_after) = (response.status(), retry_after(&response));
    let body = read(response).await?;
    if status.is_success() {
        Ok(Answer { status, retry_after, body })
    } else if status.is_client_error() {
        Err(AuthorityError::Refused { status: status.as_u16(), detail: detail(&body) })
    } else {
        Err(AuthorityError::Failed(status.as_u16()))
    }
}

fn lost(error: reqwest::Error) -> AuthorityError {
    if error.is_connect() || error.is_builder() {
        AuthorityError::NotSent(error)
    } else {
        AuthorityError::AnswerLost(error)
    }
}

async fn read(mut response: Response) -> Result<Vec<u8>, AuthorityError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(AuthorityError::AnswerLost)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(AuthorityError::Malformed);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The delay in seconds; a date (RFC 9110, 10.2.3) is not understood and counts as absent.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Problem details' `detail`, or the plain text, made fit for a log line.
fn detail(body: &[u8]) -> String {
    let problem = serde_json::from_slice::<serde_json::Value>(body).ok();
    let text = problem.as_ref().and_then(|problem| problem.get("detail")?.as_str());
    let text = text.map_or_else(|| String::from_utf8_lossy(body), Into::into);
    text.chars().filter(|character| !character.is_control()).take(MAX_DETAIL).collect()
}

/// For peers whose answers are signed themselves: no TLS server is trusted.
pub(super) fn tls_without_roots() -> Result<ClientConfig, rustls::Error> {
    Ok(tls_trusting(&[])?.with_no_client_auth())
}

fn tls(config: &Config) -> Result<ClientConfig, rustls::Error> {
    let builder = tls_trusting(&config.trusted)?;
    match &config.identity {
        Some((chain, key)) => builder.with_client_auth_cert(chain.clone(), key.clone_key()),
        None => Ok(builder.with_no_client_auth()),
    }
}

fn tls_trusting(
    trusted: &[CertificateDer<'static>],
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots(trusted)?))
}

fn roots(trusted: &[CertificateDer<'static>]) -> Result<RootCertStore, rustls::Error> {
    let mut roots = RootCertStore::empty();
    trusted.iter().try_for_each(|certificate| roots.add(certificate.clone()))?;
    Ok(roots)
}
