//! The terminal's side of cardhost: log in, have certificates made, authenticate, and show the remote card to the
//! applications of this computer as if it stood in a reader (PC/SC, through vpcd).
#![forbid(unsafe_code)]

mod authenticate;
mod bridge;
mod certificate;
mod cli;
mod enrolment;
mod error;
mod host;
mod input;
mod login;
mod output;
pub mod pairing;
mod problem;
mod secrets;
mod state;
mod tls;

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use crate::{cli::Cli, error::Error};

/// The program: does what its arguments say.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr();
    let json = cli.json;
    match tokio::runtime::Runtime::new()
        .map_err(Error::Runtime)
        .and_then(|runtime| runtime.block_on(cli.run()))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::failure(&error, json);
            ExitCode::from(error.exit_code())
        }
    }
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("CARDHOST_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
