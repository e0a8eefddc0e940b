//! `cardhost key`.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{RemoteCommand, client::Client, output::Output};

/// Between two questions for the progress.
const PAUSE: Duration = Duration::from_millis(200);
const PATH: &str = "/v1/host-key/rotation";

/// Manages the keys that wrap the cards' keys.
#[derive(Args)]
pub struct Key {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Replaces every wrapping key and destroys the earlier ones; the cards go on meanwhile.
    ///
    /// Afterwards earlier copies of the store open under no key that the host has. Waits for the end; the daemon goes
    /// on if this command is interrupted. Back up host.key and the store anew.
    Rotate,
    /// Shows whether a rotation is under way.
    Show,
}

impl RemoteCommand for Key {
    async fn run(self, client: &Client, output: Output) -> anyhow::Result<()> {
        match self.command {
            Command::Rotate => {
                let begun = client.post(PATH, &json!({})).await?;
                wait(client, begun).await?;
                output.done("every wrapping key is replaced");
            }
            Command::Show => output.object(&client.get(PATH).await?),
        }
        Ok(())
    }
}

async fn wait(client: &Client, mut rotation: Value) -> anyhow::Result<()> {
    let mut shown = Value::Null;
    loop {
        match rotation["state"].as_str() {
            Some("running") if rotation["done"] == shown => {}
            Some("running") => eprintln!("{} of {} buckets", rotation["done"], rotation["of"]),
            Some("idle") => return Ok(()),
            _ => anyhow::bail!("the rotation broke off; the daemon's log says why: begin it again"),
        }
        shown = rotation["done"].clone();
        tokio::time::sleep(PAUSE).await;
        rotation = client.get(PATH).await?;
    }
}
