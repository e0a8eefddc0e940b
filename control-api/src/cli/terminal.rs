//! `cardhost terminal`.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{RemoteCommand, client::Client, output::Output};
use crate::auth::name::Name;

/// Manages terminals and the users they are assigned to.
///
/// A terminal has at most one card, which lives from its first certificate to its last. Only the user whom the terminal
/// is assigned to can use the card.
#[derive(Args)]
pub struct Terminal {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists terminals by name.
    List {
        /// Only terminals after this one.
        #[arg(long, default_value = "")]
        after: String,
    },
    /// Makes a terminal, or assigns it to another user.
    #[command(visible_alias = "put")]
    Assign {
        /// The terminal's name.
        terminal: Name,
        /// The user.
        #[arg(long)]
        owner: Name,
    },
    /// Removes a terminal that has no card.
    Delete {
        /// The terminal's name.
        terminal: Name,
    },
    /// Lists the devices that are enrolled for a terminal.
    Devices {
        /// The terminal's name.
        terminal: Name,
    },
    /// Refuses a device's certificate from now on: for a terminal that was lost.
    ///
    /// If it pairs with cards, the authority revokes the certificate of its pairing key too, and every card ends its
    /// pairings with it: live ones at once, parked ones when they wake.
    RevokeDevice {
        /// The terminal's name.
        terminal: Name,
        /// The device, as `cardhost terminal devices` shows it.
        device: String,
    },
}

impl RemoteCommand for Terminal {
    async fn run(self, client: &Client, output: Output) -> anyhow::Result<()> {
        match self.command {
            Command::List { after } => {
                let terminals = client.get(&format!("/v1/terminals?after={after}")).await?;
                output.list(&terminals, "terminals", &["terminal", "owner"]);
            }
            Command::Assign { terminal, owner } => {
                let setting = json!({ "owner": owner });
                output.object(&client.put(&format!("/v1/terminals/{terminal}"), &setting).await?);
            }
            Command::Delete { terminal } => {
                client.delete(&format!("/v1/terminals/{terminal}")).await?;
                output.done(&format!("terminal {terminal} removed"));
            }
            Command::Devices { terminal } => {
                let devices = client.get(&format!("/v1/terminals/{terminal}/devices")).await?;
                output.list(&devices, "devices", &["id", "expires_at", "pairing_serial"]);
            }
            Command::RevokeDevice { terminal, device } => {
                client.delete(&format!("/v1/terminals/{terminal}/devices/{device}")).await?;
                output.done(&format!("device {device} of terminal {terminal} removed"));
            }
        }
        Ok(())
    }
}
