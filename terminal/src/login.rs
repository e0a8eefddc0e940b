//! Logging in and out.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::{
    enrolment,
    error::Error,
    host::{self, Host, HostError},
    input::{self, InputError},
    output::Output,
    state::{Config, Device, Session, State, StateError, Trust},
    tls,
};

/// Log in, and enrol this terminal's device key at the first time.
///
/// The device key is made on this computer and never leaves it; the host certifies it for this terminal, and from
/// then on each connection proves both the host and this terminal. Logging in again uses the same key. What is
/// left out is taken from the last login.
#[derive(Args)]
pub struct Login {
    /// The host, for example https://cards.example:8443.
    #[arg(long)]
    url: Option<String>,
    /// This terminal's name at the host.
    #[arg(long, value_name = "NAME")]
    terminal: Option<String>,
    /// The user to whom the terminal is assigned.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Trust the certification authorities in this file (PEM), for example `ca_pem` of the host's admin.json.
    #[arg(long, value_name = "FILE", conflicts_with = "ca_sha256")]
    ca: Option<PathBuf>,
    /// Trust the host's certificate or authority with this SHA-256, hexadecimal.
    #[arg(long, value_name = "HEX")]
    ca_sha256: Option<String>,
    /// Read the password from this file, `-` for standard input; without it you are asked.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// What a login reports.
#[derive(Serialize)]
struct LoggedIn<'a> {
    url: &'a str,
    terminal: &'a str,
    user: &'a str,
    expires_at: &'a str,
}

impl Login {
    /// Logs in and keeps configuration, device and session.
    pub async fn run(self, state: &State, output: &Output) -> Result<(), Error> {
        let (config, known) = self.configure(state)?;
        let password = input::secret(&format!("Password of {}", config.user), self.password_file.as_deref())?;
        let session = begin(state, &config, known, &password).await?;
        state.put_config(&config)?;
        state.put_session(&session)?;
        let Config { url, terminal, user, .. } = &config;
        let report = LoggedIn { url, terminal, user, expires_at: &session.expires_at };
        output.show(&report, || {
            format!("logged in at {url} as {user} on terminal {terminal} until {}", session.expires_at)
        });
        Ok(())
    }

    /// The configuration asked for, and whether the device is enrolled for this very host and terminal.
    fn configure(&self, state: &State) -> Result<(Config, bool), Error> {
        let last = match state.config() {
            Err(StateError::NotLoggedIn) => None,
            last => Some(last?),
        };
        let pick = |given: &Option<String>, last: Option<&String>| {
            given.clone().or_else(|| last.cloned()).ok_or(StateError::NotLoggedIn)
        };
        let url = pick(&self.url, last.as_ref().map(|last| &last.url))?;
        host::parse_url(&url)?;
        let terminal = pick(&self.terminal, last.as_ref().map(|last| &last.terminal))?;
        let user = pick(&self.user, last.as_ref().map(|last| &last.user))?;
        let kept = last.as_ref().filter(|last| last.url == url);
        let trust = self.trust()?.or_else(|| kept.map(|last| last.trust.clone())).unwrap_or(Trust::System);
        let known = kept.is_some_and(|last| last.terminal == terminal);
        Ok((Config::new(url, trust, terminal, user), known))
    }

    fn trust(&self) -> Result<Option<Trust>, Error> {
        if let Some(pin) = &self.ca_sha256 {
            tls::check_pin(pin)?;
            return Ok(Some(Trust::CaSha256(pin.clone())));
        }
        let Some(path) = &self.ca else { return Ok(None) };
        let failed = |source| InputError::File { path: path.clone(), source };
        Ok(Some(Trust::CaPem(std::fs::read_to_string(path).map_err(failed)?)))
    }
}

/// Ends the session at the host and forgets it here.
pub async fn logout(state: &State, output: &Output) -> Result<(), Error> {
    let (host, _) = Host::of(state)?;
    match host.delete(&["v1", "sessions", "current"]).await {
        Ok(_) | Err(HostError::SessionEnded(_)) => {}
        Err(error) => return Err(error.into()),
    }
    state.remove_session()?;
    output.show(&serde_json::json!({ "logged_out": true }), || "logged out".into());
    Ok(())
}

/// Logs in again with what was configured before, for a program that runs unattended.
pub async fn again(state: &State, password: &str) -> Result<Session, Error> {
    let config = state.config()?;
    let session = begin(state, &config, true, password).await?;
    state.put_session(&session)?;
    Ok(session)
}

/// A session bound to the device's certificate; the device is enrolled before if it must be, and the pairing key with it.
async fn begin(state: &State, config: &Config, known: bool, password: &str) -> Result<Session, Error> {
    if known && let Some(device) = state.device()? {
        if let Some(device) = to_pair(state, config, password).await? {
            return log_in(config, Some(&device), password).await;
        }
        match log_in(config, Some(&device), password).await {
            Err(Error::Host(error)) if is_about_the_device(&error) => {
                tracing::info!(%error, "the device's certificate is not accepted, enrolling again");
            }
            session => return session,
        }
    }
    let device = enrolment::enrol(state, config, password).await?;
    log_in(config, Some(&device), password).await
}

/// Enrols again if the terminal has no certified key to pair with, or its certificate is to be renewed; nothing is renewed
/// if that fails, since the present one serves yet. `None` if there is no need, or the host cannot pair: it has refused before
/// it enrolled anything.
async fn to_pair(state: &State, config: &Config, password: &str) -> Result<Option<Device>, Error> {
    let identity = state.pairing_identity()?;
    if identity.as_ref().is_some_and(|identity| !identity.is_to_renew()) {
        return Ok(None);
    }
    tracing::info!("enrolling again, for a key to pair with");
    match enrolment::with_pairing(state, config, password).await {
        Err(error) if identity.is_some() => {
            tracing::warn!(%error, "the certificate to pair with is not renewed");
            Ok(None)
        }
        enrolled => enrolled,
    }
}

/// Logs in; with a device the session is bound to it.
pub(crate) async fn log_in(
    config: &Config,
    device: Option<&Device>,
    password: &str,
) -> Result<Session, Error> {
    #[derive(Serialize)]
    struct Credentials<'a> {
        user: &'a str,
        password: &'a str,
    }
    let host = Host::new(&config.url, &config.trust, device)?;
    let credentials = Credentials { user: &config.user, password };
    Ok(host.ask(&["v1", "sessions"], &credentials).await?)
}

/// A certificate that expired or was removed fails in the handshake, or leaves the host without a device to bind to.
fn is_about_the_device(error: &HostError) -> bool {
    match error {
        HostError::Unreachable { source, .. } => !source.is_timeout(),
        HostError::Refused(problem) => problem.is("device-certificate-required"),
        _ => false,
    }
}
