//! `cardhost demo`: the whole story on this machine, over the same interfaces as anybody's.

mod channel;
mod piv;
mod story;

use std::{future::Future, net::Ipv4Addr, time::Instant};

use anyhow::Context as _;
use cardhost_wire::launch::UserIds;
use clap::Args;
use tempfile::TempDir;

use crate::{
    host::{AdministratorFile, Config, Host},
    server::Limits,
};

/// Shows the whole story in a temporary directory: needs nothing but access to /dev/kvm.
///
/// Starts a daemon with its embedded authority on a free loopback port, then works as an operator and as a terminal
/// do, over REST and the terminal channel: logs in, gets a first certificate (the card's microVM is made), authenticates,
/// signs with the key in the card, gets a second certificate, deletes both (the microVM is destroyed) and verifies the
/// receipt. Prints one line for each step with its time; succeeds only if every step held.
#[derive(Args)]
pub struct Demo {}

impl Demo {
    /// Tells the story.
    pub fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
        runtime.block_on(demo())
    }
}

async fn demo() -> anyhow::Result<()> {
    let started = Instant::now();
    let directory = TempDir::new().context("cannot make a temporary directory")?;
    let host = step("the daemon and its authority start", Host::start(config(&directory))).await?;
    let told = story::tell(&host, &administrator(&directory)?).await;
    host.stop().await;
    told?;
    println!("every step held, {:.1} s in all", started.elapsed().as_secs_f64());
    Ok(())
}

fn config(directory: &TempDir) -> Config {
    Config {
        data: directory.path().join("data"),
        anchor: None,
        accept_new_anchor: false,
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        tls: None,
        authority: None,
        card_users: UserIds::DEFAULT,
        default_keys: false,
        limits: Limits::default(),
    }
}

fn administrator(directory: &TempDir) -> anyhow::Result<AdministratorFile> {
    Ok(AdministratorFile::read(&directory.path().join("data/admin.json"))?)
}

/// Does one step and prints its line.
async fn step<T, E>(what: &str, work: impl Future<Output = Result<T, E>>) -> anyhow::Result<T>
where
    anyhow::Error: From<E>,
{
    let started = Instant::now();
    let done = work.await;
    let elapsed = started.elapsed().as_secs_f64() * 1000.0;
    let mark = if done.is_ok() { "ok  " } else { "FAIL" };
    println!("{mark} {elapsed:>9.2} ms  {what}");
    done.map_err(|error| anyhow::Error::from(error).context(format!("this did not hold: {what}")))
}
