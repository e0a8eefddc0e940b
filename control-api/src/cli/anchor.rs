//! `cardhost anchor`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::{Remote, RemoteCommand, audit::public_key, client::Client, output::Output};
use crate::{anchor::SignedHead, data_dir};

/// Exports the anchor's head and verifies the anchor against an exported one.
///
/// The anchor shows when old copies of the store are put back. A head that was exported and kept elsewhere shows when
/// old copies of the store and of the anchor are put back together.
#[derive(Args)]
pub struct Anchor {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Export(Remote<Export>),
    Verify(Verify),
}

/// Prints the anchor's signed head as JSON. Keep it where the host's backups do not reach.
#[derive(Args)]
struct Export {}

/// Verifies that the anchor's history passes through an exported head.
///
/// Needs no daemon, only the anchor and the host's public key. Fails if the anchor is older than the head or has another
/// history since: then old copies were put back. The anchor remembers the newest 65,536 exported heads.
#[derive(Args)]
struct Verify {
    /// The exported head.
    #[arg(long, value_name = "FILE")]
    head: PathBuf,
    /// Data directory, or a copy of it.
    #[arg(long, value_name = "DIR", default_value = "cardhost-data", env = "CARDHOST_DATA")]
    data: PathBuf,
    /// The anchor, if it is not in the data directory.
    #[arg(long, value_name = "FILE", env = "CARDHOST_ANCHOR")]
    anchor: Option<PathBuf>,
    /// The host's public key (64 hexadecimal digits); by default the one in the data directory.
    #[arg(long, value_name = "HEX")]
    public_key: Option<String>,
    #[command(flatten)]
    output: Output,
}

impl Anchor {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Export(export) => export.run(),
            Command::Verify(verify) => verify.run(),
        }
    }
}

impl RemoteCommand for Export {
    async fn run(self, client: &Client, _: Output) -> anyhow::Result<()> {
        println!("{}", client.get("/v1/anchor").await?);
        Ok(())
    }
}

impl Verify {
    fn run(self) -> anyhow::Result<()> {
        let cannot_read = || format!("cannot read {}", self.head.display());
        let text = std::fs::read_to_string(&self.head).with_context(cannot_read)?;
        let head: SignedHead = serde_json::from_str(&text).context("this is not an exported head")?;
        head.verify(&public_key(&self.data, self.public_key)?)?;
        let path = self.anchor.unwrap_or_else(|| self.data.join(data_dir::ANCHOR));
        let last = head.is_passed_by(&path)?;
        self.output.done(&format!(
            "the anchor holds: it passes through the head of batch {} and goes on to batch {}",
            head.sequence, last.sequence
        ));
        Ok(())
    }
}
