//! The command line.

mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::telemetry::LogFormat;

/// Card microVMs in place of smart cards.
///
/// cardhost gives each terminal a smart card that lives in a microVM of its own on this host. Start with `cardhost
/// doctor`, which says whether this machine can run cards, and `cardhost demo`, which shows the whole story in a
/// few seconds on a temporary directory. `cardhost serve` is the daemon; the other commands talk to it.
#[derive(Parser)]
#[command(name = "cardhost", version, propagate_version = true)]
struct Cli {
    /// How log lines look on standard error; CARDHOST_LOG=debug shows more of them.
    #[arg(long, global = true, value_enum, default_value_t, env = "CARDHOST_LOG_FORMAT")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Serve),
}

/// Runs the command that the process's arguments name.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    crate::telemetry::log_to_stderr(cli.log_format);
    let done = match cli.command {
        Command::Serve(serve) => serve.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cardhost: {error:#}");
            ExitCode::FAILURE
        }
    }
}
