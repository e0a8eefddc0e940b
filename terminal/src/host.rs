//! The host's REST interface as a terminal uses it.

use std::time::Duration;

use reqwest::{Method, StatusCode, Url, header::RETRY_AFTER};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    error::Error,
    problem::Problem,
    state::{Config, Device, State, Trust},
    tls,
};

/// Longest wait for one answer: the host may start a card, make an RSA key and ask the authority meanwhile.
const DEADLINE: Duration = Duration::from_secs(120);
/// Longest wait for the connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// How often a creating request whose answer was lost is sent again, under the same idempotency key.
const ATTEMPTS: u32 = 5;

/// Why the host did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The URL is none.
    #[error("{0} is no https:// URL")]
    Url(String),
    /// No connection, or it broke.
    #[error("cannot reach {url}: {}", chain(source))]
    Unreachable {
        /// The host.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The session's token is not valid (any more).
    #[error("the session has ended: {0}")]
    SessionEnded(Problem),
    /// The host answered with an error.
    #[error("{0}")]
    Refused(Problem),
    /// The host's answer is not what its interface promises.
    #[error("the host's answer is not understood: {0}")]
    Answer(serde_json::Error),
}

impl HostError {
    /// What to try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { source, .. } if is_certificate(source) => Some(
                "compare the host's certificate: log in with --ca FILE or --ca-sha256 (both stand in the host's admin.json)",
            ),
            Self::Unreachable { .. } => Some("is the host running, and the URL right?"),
            Self::SessionEnded(_) => Some("cardhost-terminal login"),
            Self::Refused(problem) => hint_for(problem),
            Self::Url(_) | Self::Answer(_) => None,
        }
    }
}

/// A connection to the host, with or without a session.
pub struct Host {
    client: reqwest::Client,
    url: Url,
    token: Option<Zeroizing<String>>,
}

impl Host {
    /// A connection without a session.
    pub fn new(url: &str, trust: &Trust, device: Option<&Device>) -> Result<Self, Error> {
        let config = tls::client_config(trust, device)?;
        let built = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .https_only(true)
            .connect_timeout(CONNECT_DEADLINE)
            .timeout(DEADLINE)
            .build();
        let client = built.map_err(|source| HostError::Unreachable { url: url.into(), source })?;
        Ok(Self { client, url: parse_url(url)?, token: None })
    }

    /// The connection of the terminal's session.
    pub fn of(state: &State) -> Result<(Self, Config), Error> {
        let config = state.config()?;
        let token = state.session()?.token.clone();
        let host = Self::new(&config.url, &config.trust, state.device()?.as_ref())?;
        Ok((host.with_token(&token), config))
    }

    /// The same connection under this session.
    pub fn with_token(self, token: &str) -> Self {
        Self { token: Some(Zeroizing::new(token.into())), ..self }
    }

    /// Reads a resource.
    pub async fn read<A: DeserializeOwned>(&self, path: &[&str]) -> Result<A, HostError> {
        parse(&self.send(Method::GET, path, None, None).await?)
    }

    /// Makes a resource, once, even if an answer gets lost on the way.
    pub async fn create<A: DeserializeOwned>(
        &self,
        path: &[&str],
        request: &impl Serialize,
    ) -> Result<A, HostError> {
        let body = Zeroizing::new(serde_json::to_vec(request).map_err(HostError::Answer)?);
        let key = Uuid::new_v4().to_string();
        let mut attempt = 1;
        loop {
            match self.send(Method::POST, path, Some(&body), Some(&key)).await {
                Err(error) if attempt < ATTEMPTS && is_worth_repeating(&error) => attempt += 1,
                answer => return parse(&answer?),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Asks once, without an idempotency key.
    pub async fn ask<A: DeserializeOwned>(
        &self,
        path: &[&str],
        request: &impl Serialize,
    ) -> Result<A, HostError> {
        let body = Zeroizing::new(serde_json::to_vec(request).map_err(HostError::Answer)?);
        parse(&self.send(Method::POST, path, Some(&body), None).await?)
    }

    /// Deletes a resource; the answer's body.
    pub async fn delete(&self, path: &[&str]) -> Result<Zeroizing<Vec<u8>>, HostError> {
        self.send(Method::DELETE, path, None, None).await
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&[u8]>,
        idempotency_key: Option<&str>,
    ) -> Result<Zeroizing<Vec<u8>>, HostError> {
        let mut request = self.client.request(method, below(&self.url, path));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.as_str());
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_vec());
        }
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        self.exchange(request).await
    }

    async fn exchange(&self, request: reqwest::RequestBuilder) -> Result<Zeroizing<Vec<u8>>, HostError> {
        let unreachable = |source| HostError::Unreachable { url: self.url.to_string(), source };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        tracing::debug!(%status, retry_after = ?response.headers().get(RETRY_AFTER), "answer");
        let body = Zeroizing::new(response.bytes().await.map_err(unreachable)?.to_vec());
        if status.is_success() { Ok(body) } else { Err(refusal(status, &body)) }
    }
}

/// Reads an answer's JSON.
pub fn parse<A: DeserializeOwned>(body: &[u8]) -> Result<A, HostError> {
    serde_json::from_slice(body).map_err(HostError::Answer)
}

/// The host's URL; only https is accepted.
pub fn parse_url(text: &str) -> Result<Url, HostError> {
    let url = Url::parse(text).ok().filter(|url| url.scheme() == "https" && url.has_host());
    url.ok_or_else(|| HostError::Url(text.into()))
}

/// `path`'s segments below the host's URL, each escaped.
pub fn below(url: &Url, path: &[&str]) -> Url {
    let mut url = url.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

fn refusal(status: StatusCode, body: &[u8]) -> HostError {
    let problem = Problem::parse(status.as_u16(), body);
    match problem.is("unauthenticated") {
        true => HostError::SessionEnded(problem),
        false => HostError::Refused(problem),
    }
}

fn is_worth_repeating(error: &HostError) -> bool {
    match error {
        HostError::Unreachable { source, .. } => !source.is_connect(),
        HostError::Refused(problem) => problem.is("idempotency-in-progress"),
        _ => false,
    }
}

fn hint_for(problem: &Problem) -> Option<&'static str> {
    match problem.title.as_str() {
        "terminal-not-assigned" => {
            Some("the operator assigns terminals: cardhost terminal put TERMINAL --owner USER")
        }
        "pin-required" => Some("give the PIN with --pin-file, or run it on a terminal to be asked"),
        "pin-blocked" => Some("unblock the PIN with the PUK, over the bridge"),
        "key-reference-occupied" => Some("choose another --key, or delete the certificate that is there"),
        "device-certificate-required" => Some("log in again: cardhost-terminal login"),
        "authority-unreachable" | "authority-undecided" | "carried-forward" => Some("try again later"),
        _ => None,
    }
}

fn is_certificate(error: &reqwest::Error) -> bool {
    sources(error).any(|source| source.to_string().contains("invalid peer certificate"))
}

fn chain(error: &reqwest::Error) -> String {
    sources(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}

fn sources<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_escaped_below_the_hosts_url() {
        let url = parse_url("https://host:8443/cards/").unwrap();
        let path = below(&url, &["v1", "terminals", "a/b ?"]);
        assert_eq!(path.as_str(), "https://host:8443/cards/v1/terminals/a%2Fb%20%3F");
        assert!(matches!(parse_url("http://host"), Err(HostError::Url(_))));
    }
}
