//! The command line.

mod anchor;
mod audit;
mod card;
pub mod client;
mod demo;
mod doctor;
mod image;
mod key;
mod output;
mod serve;
mod terminal;
mod user;

use std::{future::Future, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

use crate::telemetry::LogFormat;

/// Card microVMs in place of smart cards.
///
/// cardhost gives each terminal a smart card that lives in a microVM of its own on this host. Start with `cardhost
/// doctor`, which says whether this machine can run cards, and `cardhost demo`, which shows the whole story in a
/// few seconds in a temporary directory. `cardhost serve` is the daemon; the other commands talk to it.
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
    Serve(Box<serve::Serve>),
    Demo(demo::Demo),
    Doctor(doctor::Doctor),
    User(Remote<user::User>),
    Terminal(Remote<terminal::Terminal>),
    Card(Remote<card::Card>),
    Key(Remote<key::Key>),
    Anchor(anchor::Anchor),
    Image(image::Image),
    Audit(audit::Audit),
}

/// A command over REST.
trait RemoteCommand: Args {
    /// Runs it with a logged-in client.
    async fn run(self, client: &client::Client, output: output::Output) -> anyhow::Result<()>;
}

// A command over REST with its common options. No doc comment: help would show it in the place of the command's own.
#[derive(Args)]
struct Remote<C: RemoteCommand> {
    #[command(flatten)]
    target: client::Target,
    #[command(flatten)]
    output: output::Output,
    #[command(flatten)]
    command: C,
}

impl<C: RemoteCommand> Remote<C> {
    /// Logs in, runs the command, logs out.
    fn run(self) -> anyhow::Result<()> {
        block_on(async {
            let client = client::Client::log_in(&self.target.credentials()?, None).await?;
            let done = self.command.run(&client, self.output).await;
            client.log_out().await?;
            done
        })
    }
}

/// Runs the command that the process's arguments name.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    crate::telemetry::log_to_stderr(cli.log_format, cli.command.log_level());
    match cli.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cardhost: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Command {
    /// The daemon's log is its voice; a command that prints its own story only adds what goes wrong.
    const fn log_level(&self) -> &'static str {
        match self {
            Self::Serve(_) => "info",
            _ => "warn",
        }
    }

    fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Serve(serve) => serve.run(),
            Self::Demo(demo) => demo.run(),
            Self::Doctor(doctor) => doctor.run(),
            Self::User(user) => user.run(),
            Self::Terminal(terminal) => terminal.run(),
            Self::Card(card) => card.run(),
            Self::Key(key) => key.run(),
            Self::Anchor(anchor) => anchor.run(),
            Self::Image(image) => image.run(),
            Self::Audit(audit) => audit.run(),
        }
    }
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?.block_on(work)
}
