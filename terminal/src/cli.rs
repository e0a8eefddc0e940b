//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{
    authenticate::Authenticate,
    bridge::Bridge,
    certificate::Certificate,
    error::Error,
    login::{self, Login},
    output::Output,
    state::State,
};

/// Use a card that lives in a microVM of a cardhost.
///
/// A session in short:
///
///   cardhost-terminal login --url https://host:8443 --ca host.pem --terminal desk-7 --user alice
///   cardhost-terminal certificate create --key 9A --algorithm P-256
///   cardhost-terminal authenticate
///   cardhost-terminal bridge
///
/// `login` makes this terminal's device key and has it certified: from then on both ends of every connection
/// prove who they are. The first certificate makes the card, deleting the last one destroys it. While `bridge`
/// runs, PC/SC applications (OpenSC, ssh, browsers, …) see the card in a reader of pcscd's vpcd driver.
#[derive(Parser)]
#[command(name = "cardhost-terminal", version, propagate_version = true, after_help = EXIT_CODES, verbatim_doc_comment)]
pub struct Cli {
    /// Where this terminal keeps its configuration, device key and session
    /// [default: $XDG_CONFIG_HOME/cardhost-terminal].
    #[arg(long, global = true, value_name = "DIR", env = "CARDHOST_TERMINAL_STATE")]
    state: Option<PathBuf>,
    /// Print results, events and errors as JSON, one object per line.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the authority's answer to `authenticate` is: failure
  2  wrong usage
  3  no valid session: log in
  4  the host refused
  5  the host cannot be reached, or is not the one that is trusted
  6  something on this computer: files, input, state directory

CARDHOST_LOG=debug shows more on standard error.";

#[derive(Subcommand)]
enum Command {
    Login(Login),
    /// End the session. The device key and its certificate stay for the next login.
    Logout,
    Certificate(CertificateCommand),
    Authenticate(Authenticate),
    Bridge(Bridge),
}

/// Create, list, renew and delete the certificates of the card.
#[derive(Args)]
struct CertificateCommand {
    #[command(subcommand)]
    command: Certificate,
}

impl Cli {
    /// Does what the arguments say.
    pub async fn run(self) -> Result<(), Error> {
        let state = State::open(self.state)?;
        let output = Output::new(self.json);
        match self.command {
            Command::Login(login) => login.run(&state, &output).await,
            Command::Logout => login::logout(&state, &output).await,
            Command::Certificate(certificate) => certificate.command.run(&state, &output).await,
            Command::Authenticate(authenticate) => authenticate.run(&state, &output).await,
            Command::Bridge(bridge) => bridge.run(state, output).await,
        }
    }
}
