//! `cardhost user`.

use std::{
    io::{self, IsTerminal as _, Read as _},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use zeroize::Zeroizing;

use super::{RemoteCommand, client::Client, output::Output};
use crate::auth::name::Name;

/// Manages the list of authorised users.
///
/// Only users on this list can log in, and each reaches only the terminals that are assigned to it.
#[derive(Args)]
pub struct User {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists users by name.
    List {
        /// Only users after this one.
        #[arg(long, default_value = "")]
        after: String,
    },
    /// Makes a user, or gives one a new password and role (which ends its sessions).
    ///
    /// Asks for the password on a terminal; otherwise reads it from standard input or --password-file.
    #[command(visible_alias = "put")]
    Set {
        /// The user's name.
        user: Name,
        /// What the user may do.
        #[arg(long, value_enum, default_value = "user")]
        role: Role,
        /// Read the password from this file.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Removes a user to whom no terminal is assigned.
    Delete {
        /// The user's name.
        user: Name,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Role {
    Administrator,
    User,
}

impl RemoteCommand for User {
    async fn run(self, client: &Client, output: Output) -> anyhow::Result<()> {
        match self.command {
            Command::List { after } => {
                let users = client.get(&format!("/v1/users?after={after}")).await?;
                output.list(&users, "users", &["user", "role"]);
            }
            Command::Set { user, role, password_file } => {
                let password = password(&user, password_file)?;
                let setting = json!({ "password": *password, "role": role.name() });
                output.object(&client.put(&format!("/v1/users/{user}"), &setting).await?);
            }
            Command::Delete { user } => {
                client.delete(&format!("/v1/users/{user}")).await?;
                output.done(&format!("user {user} removed"));
            }
        }
        Ok(())
    }
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::User => "user",
        }
    }
}

fn password(user: &Name, file: Option<PathBuf>) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    match file {
        Some(path) => {
            *text =
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        }
        None if io::stdin().is_terminal() => {
            *text = rpassword::prompt_password(format!("password for {user}: ")).context("no password")?;
        }
        None => {
            io::stdin().read_to_string(&mut text).context("no password on standard input")?;
        }
    }
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}
