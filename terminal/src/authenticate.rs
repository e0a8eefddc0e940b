//! Proving the card's key to the authority.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::{
    certificate,
    error::Error,
    host::{Host, HostError},
    input::{self, InputError},
    output::Output,
    problem::Problem,
    secrets::SecretText,
    state::State,
};

/// Have the card sign the authority's challenge, and say what the authority answers.
///
/// A key that needs the PIN (9A, 9D, …) asks for it; 9E does not.
#[derive(Args)]
pub struct Authenticate {
    /// Certificate id or key reference (9A); by default the host chooses.
    #[arg(long, value_name = "ID|KEY")]
    certificate: Option<String>,
    /// Read the PIN from this file, `-` for standard input; without it you are asked if the key needs it.
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
}

#[derive(Serialize)]
struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pin: Option<SecretText>,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    result: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Success,
    Failure,
}

impl Authenticate {
    /// Authenticates; a failure is an error.
    pub async fn run(self, state: &State, output: &Output) -> Result<(), Error> {
        let (host, config) = Host::of(state)?;
        let certificate = match &self.certificate {
            Some(name) => Some(certificate::find(&host, &config.terminal, name).await?),
            None => None,
        };
        let answer = self.authenticate(&host, &config.terminal, certificate.as_deref()).await?;
        match answer.result {
            Outcome::Success => {
                output.show(&answer, || "authentication: success".into());
                Ok(())
            }
            Outcome::Failure => Err(Error::NotAuthenticated { reason: answer.reason }),
        }
    }

    async fn authenticate(
        &self,
        host: &Host,
        terminal: &str,
        certificate: Option<&str>,
    ) -> Result<Answer, Error> {
        let path = ["v1", "terminals", terminal, "authentications"];
        let given = self.pin_file.as_deref().map(|file| pin(Some(file))).transpose()?;
        let may_ask = given.is_none();
        match host.ask(&path, &Request { certificate, pin: given }).await {
            Err(HostError::Refused(problem)) if problem.is("pin-required") && may_ask => {
                let asked = pin(None).map_err(|error| needs_pin(error, problem))?;
                Ok(host.ask(&path, &Request { certificate, pin: Some(asked) }).await?)
            }
            answer => Ok(answer?),
        }
    }
}

fn pin(file: Option<&Path>) -> Result<SecretText, InputError> {
    Ok(input::secret("PIN", file)?.into())
}

/// Where nobody can be asked, the host's own words say more.
fn needs_pin(error: InputError, problem: Problem) -> Error {
    match error {
        InputError::NoTerminal => HostError::Refused(problem).into(),
        error => error.into(),
    }
}
