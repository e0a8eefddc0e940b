//! `cardhost demo`: the whole story on this machine, over the same interfaces as anybody's.

mod channel;
mod piv;
mod story;

use std::{future::Future, net::Ipv4Addr, time::Instant};

use anyhow::Context as _;
use cardhost_wire::{
    custody::Custody,
    launch::{Isolation, UserIds},
};
use clap::Args;
use tempfile::TempDir;

use super::{doctor, serve::isolation};
use crate::{
    card::Settings,
    host::{AdministratorFile, Config, Host},
    server::Limits,
    store::quotas::Quotas,
};

/// Shows the whole story in a temporary directory, with cards in microVMs where /dev/kvm can be used.
///
/// Starts a daemon with its embedded authority on a free loopback port, then works as an operator and as a terminal
/// do, over REST and the terminal channel: logs in, gets a first certificate (the card is made), authenticates, signs with the
/// key in the card, gets a second certificate, deletes both (the card is destroyed) and verifies the receipt. Without
/// /dev/kvm the card is a process, and a line says so. Prints one line for each step with its time; succeeds only if every step held.
#[derive(Args)]
pub struct Demo {
    /// Run the card as a process even where it could be a microVM.
    #[arg(long)]
    insecure_process_isolation: bool,
}

impl Demo {
    /// Tells the story.
    pub fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
        let asked = isolation(self.insecure_process_isolation);
        runtime.block_on(demo(possible(asked)))
    }
}

/// What was asked for, or processes where there are no microVMs; says what the card is.
fn possible(asked: Isolation) -> Isolation {
    let (isolation, why) = match (asked, doctor::microvms()) {
        (Isolation::Process, _) => (asked, String::new()),
        (Isolation::MicroVm, Ok(())) => (asked, String::new()),
        (Isolation::MicroVm, Err(why)) => (Isolation::Process, format!(" ({why})")),
    };
    match isolation {
        Isolation::MicroVm => println!("isolation: microvm"),
        Isolation::Process => println!("isolation: process, NOT A MICROVM{why}"),
    }
    isolation
}

async fn demo(isolation: Isolation) -> anyhow::Result<()> {
    let started = Instant::now();
    let directory = TempDir::new().context("cannot make a temporary directory")?;
    let host = step("the daemon and its authority start", Host::start(config(&directory, isolation))).await?;
    let told = story::tell(&host, &administrator(&directory)?).await;
    host.stop().await;
    told?;
    println!("every step held, {:.1} s in all", started.elapsed().as_secs_f64());
    Ok(())
}

fn config(directory: &TempDir, isolation: Isolation) -> Config {
    Config {
        data: directory.path().join("data"),
        anchor: None,
        accept_new_anchor: false,
        host_key: Custody::File,
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        tls: None,
        authority: None,
        card_users: UserIds::DEFAULT,
        guest_image: None,
        isolation,
        control_group: None,
        cards: Settings::default(),
        quotas: Quotas::default(),
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
