//! `cardhost audit`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use rusqlite::{Connection, OpenFlags};

use super::{Remote, RemoteCommand, client::Client, output::Output};
use crate::{
    audit::{Destruction, Receipt, verify_database, verify_receipt},
    data_dir,
};

/// Reads and verifies the audit log and the receipts of destroyed cards.
#[derive(Args)]
pub struct Audit {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    List(Remote<List>),
    Receipt(Remote<ShowReceipt>),
    Verify(Verify),
}

/// Lists entries in their order.
#[derive(Args)]
struct List {
    /// Only entries after this sequence number.
    #[arg(long, default_value_t = 0)]
    after: u64,
}

/// Shows a receipt; with --json in the form that `verify --receipt` takes.
#[derive(Args)]
struct ShowReceipt {
    /// The receipt's id.
    id: uuid::Uuid,
}

/// Verifies the whole log: hash chain and signatures.
///
/// Needs no daemon, only a data directory or a copy of it. Who can write the data directory could replace the log and
/// the key beside it: give the public key that you noted at the first start to detect that too.
#[derive(Args)]
struct Verify {
    /// Data directory, or a copy of it.
    #[arg(long, value_name = "DIR", default_value = "cardhost-data", env = "CARDHOST_DATA")]
    data: PathBuf,
    /// The host's public key (64 hexadecimal digits); by default the one in the data directory.
    #[arg(long, value_name = "HEX")]
    public_key: Option<String>,
    /// Verify this receipt (JSON) instead of the log.
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

impl Audit {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::List(list) => list.run(),
            Command::Receipt(receipt) => receipt.run(),
            Command::Verify(verify) => verify.run(),
        }
    }
}

impl RemoteCommand for List {
    async fn run(self, client: &Client, output: Output) -> anyhow::Result<()> {
        let page = client.get(&format!("/v1/audit?after={}", self.after)).await?;
        let columns =
            ["sequence", "entry.time", "entry.user", "entry.terminal", "entry.action", "entry.detail"];
        output.list(&page, "entries", &columns);
        Ok(())
    }
}

impl RemoteCommand for ShowReceipt {
    async fn run(self, client: &Client, output: Output) -> anyhow::Result<()> {
        output.object(&client.get(&format!("/v1/receipts/{}", self.id)).await?);
        Ok(())
    }
}

impl Verify {
    fn run(self) -> anyhow::Result<()> {
        let key = public_key(&self.data, self.public_key)?;
        let holds = match &self.receipt {
            Some(path) => verify_one(path, &key)?,
            None => verify_log(&self.data, &key)?,
        };
        self.output.done(&holds);
        Ok(())
    }
}

fn verify_log(data: &Path, key: &[u8]) -> anyhow::Result<String> {
    let path = data.join(data_dir::DATABASE);
    let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .with_context(|| format!("cannot open {}", path.display()))?;
    let entries = verify_database(&connection, key)?;
    Ok(format!("the audit log holds: {entries} entries, chained and signed by {}", hex::encode(key)))
}

fn verify_one(path: &Path, key: &[u8]) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let receipt: Receipt = serde_json::from_str(&text).context("this is not a receipt")?;
    let destruction = verify_receipt(&receipt, key)?;
    Ok(told(&destruction))
}

/// What a receipt states, for people.
fn told(destruction: &Destruction) -> String {
    let Destruction { card, terminal, destroyed_at, destroyed, cannot_know, .. } = destruction;
    let head = format!(
        "the receipt holds: the card {} of {terminal} was destroyed at {destroyed_at}",
        hex::encode(card)
    );
    let retired = destruction.wrapping_keys.map(|keys| {
        format!(
            "wrapping keys of bucket {} destroyed up to generation {}",
            keys.bucket, keys.up_to_generation
        )
    });
    let destroyed = destroyed.iter().map(|what| format!("destroyed: {what}"));
    let unknown = cannot_know.iter().map(|what| format!("the host cannot know of: {what}"));
    let lines = [head].into_iter().chain(destroyed).chain(retired).chain(unknown);
    lines.chain(destruction.meaning.clone()).collect::<Vec<_>>().join("\n")
}

/// The given public key, or the one in the data directory.
pub(super) fn public_key(data: &Path, given: Option<String>) -> anyhow::Result<Vec<u8>> {
    let noted = || {
        let path = data.join(data_dir::PUBLIC_KEY);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let text = given.map_or_else(noted, Ok)?;
    let key = hex::decode(text.trim()).context("a public key has 64 hexadecimal digits")?;
    anyhow::ensure!(key.len() == 32, "a public key has 64 hexadecimal digits");
    Ok(key)
}
