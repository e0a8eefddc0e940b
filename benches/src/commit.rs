//! What durability costs: an APDU that commits, through the daemon and the terminal's channel.
//!
//! | figure | what | floor |
//! |---|---|---|
//! | `commit` | PUT DATA of 100 bytes, one commit | an APDU over the same way that commits nothing + one write of as many bytes and fdatasync(2) on the same file system |
//! | `commit_together` | the same by many cards at once, time for each | the floor above |
//! | `commits_per_sync` | of those, how many each transaction of the store made durable | one |

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::Path,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use cardhost_guest::crypto::{BlockCipher, CipherAlgorithm};
use cardhost_wire::{apdu::CommandApdu, key::KeyReference, tlv};
use futures_util::future::try_join_all;
use tokio::runtime::Runtime;

use crate::{
    card::{TWENTY_BYTES, select_piv, succeeded},
    daemon::{Channel, Daemon, MANAGEMENT_KEY},
    figure::{Effort, Figure, Report, Samples},
};

/// Cards that commit at once.
const CARDS: usize = 16;
/// Commits after which the store's log is written in place and grows no more (SQLite writes it back after 1,000 pages).
const SETTLING: usize = 600;
/// Length of the file that the floor writes in turn.
const FLOOR_FILE: u64 = 4 * 1024 * 1024;
/// An object in Yubico's range.
const OBJECT: [u8; 3] = [0x5F, 0xFF, 0x10];

/// Measures all of them.
pub fn measure(effort: Effort) -> Result<Report> {
    Runtime::new()?.block_on(async {
        let daemon = Daemon::start().await?;
        let mut report = Report::default();
        let floor = alone(effort, &daemon, &mut report).await?;
        together(effort, &daemon, &mut report, floor).await?;
        Ok(report)
    })
}

/// One card; gives the floor's median, microseconds.
async fn alone(effort: Effort, daemon: &Daemon, report: &mut Report) -> Result<f64> {
    let mut channel = authenticated(daemon, "bench-alone").await?;
    let bytes = bytes_per_commit(daemon, &mut channel).await?;
    for number in 0..SETTLING {
        commit(&mut channel, number).await?;
    }
    let mut disk = Disk::new(daemon.data(), bytes)?;
    let [mut commits, mut others, mut syncs] = <[Samples; 3]>::default();
    for turn in 0..effort.turns {
        for number in 0..effort.slow {
            let start = Instant::now();
            commit(&mut channel, turn + number).await?;
            commits.push(start.elapsed());
            let start = Instant::now();
            channel.exchange(&TWENTY_BYTES).await?;
            others.push(start.elapsed());
            syncs.time(|| disk.write())?;
        }
    }
    let (other, sync) = (others.percentile(50), syncs.percentile(50));
    report.push(Figure::time("commit", &commits, other + sync));
    report.note(format!(
        "a commit writes {bytes} bytes; of the floor {sync:.0} us is fdatasync, {other:.0} us the way"
    ));
    Ok(other + sync)
}

async fn together(effort: Effort, daemon: &Daemon, report: &mut Report, floor: f64) -> Result<()> {
    let mut channels = Vec::with_capacity(CARDS);
    for number in 0..CARDS {
        channels.push(authenticated(daemon, &format!("bench-{number}")).await?);
    }
    let before = transactions(daemon).await?;
    let mut rounds = Samples::default();
    for number in 0..effort.turns * effort.slow / 4 {
        let start = Instant::now();
        try_join_all(channels.iter_mut().map(|channel| commit(channel, number))).await?;
        rounds.push(start.elapsed() / CARDS as u32);
    }
    let after = transactions(daemon).await?;
    report.push(Figure::time("commit_together", &rounds, floor));
    let (writes, transactions) = (after.writes - before.writes, after.transactions - before.transactions);
    report.push(Figure::ratio("commits_per_sync", writes / transactions));
    Ok(())
}

/// A new card with its management key authenticated on its channel.
async fn authenticated(daemon: &Daemon, name: &str) -> Result<Channel> {
    let mut channel = daemon.terminal(name).await?.channel().await?;
    succeeded(&channel.exchange(&select_piv()).await?)?;
    let asked = channel.exchange(&management(&tlv::object(0x81, &[]))).await?;
    succeeded(&asked)?;
    let challenge = tlv::only(&asked[..asked.len() - 2], 0x7C).and_then(|template| tlv::only(template, 0x81));
    let mut block = challenge.map_err(|_| anyhow::anyhow!("no challenge"))?.to_vec();
    let cipher = BlockCipher::new(CipherAlgorithm::Aes256, &MANAGEMENT_KEY);
    let encrypted = cipher.and_then(|cipher| cipher.encrypt(&mut block));
    encrypted.map_err(|_| anyhow::anyhow!("a challenge is one block"))?;
    succeeded(&channel.exchange(&management(&tlv::object(0x82, &block))).await?)?;
    Ok(channel)
}

/// GENERAL AUTHENTICATE with the management key, AES-256.
fn management(object: &[u8]) -> Vec<u8> {
    let data = tlv::object(0x7C, object);
    let key = KeyReference::MANAGEMENT.0;
    CommandApdu { cla: 0, ins: 0x87, p1: 0x0C, p2: key, data: &data, le: Some(256), extended: false }
        .to_bytes()
}

/// PUT DATA, which is one commit.
async fn commit(channel: &mut Channel, number: usize) -> Result<()> {
    let content = [number as u8; 100];
    let data = [tlv::object(0x5C, &OBJECT), tlv::object(0x53, &content)].concat();
    let put = CommandApdu { cla: 0, ins: 0xDB, p1: 0x3F, p2: 0xFF, data: &data, le: None, extended: false };
    succeeded(&channel.exchange(&put.to_bytes()).await?)
}

/// How much the store's log, which still grows, grows by one commit.
async fn bytes_per_commit(daemon: &Daemon, channel: &mut Channel) -> Result<usize> {
    const COMMITS: usize = 20;
    let log = daemon.data().join("store.db-wal");
    commit(channel, 0).await?;
    let before = log.metadata()?.len();
    for number in 0..COMMITS {
        commit(channel, number).await?;
    }
    let grown = log.metadata()?.len().saturating_sub(before) as usize;
    ensure!(grown > 0, "the store's log does not grow");
    Ok(grown / COMMITS)
}

/// What the store counts.
struct Transactions {
    writes: f64,
    transactions: f64,
}

async fn transactions(daemon: &Daemon) -> Result<Transactions> {
    let page = daemon.operator().page("metrics").await?;
    let value = |name: &str| -> Result<f64> {
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("{name} in the metrics"))?.trim().parse()?)
    };
    let writes = value("cardhost_store_writes_total")?;
    Ok(Transactions { writes, transactions: value("cardhost_store_transactions_total")? })
}

/// The floor's file: written in place, a piece at a time.
struct Disk {
    file: File,
    piece: Vec<u8>,
    at: u64,
}

impl Disk {
    fn new(folder: &Path, bytes: usize) -> Result<Self> {
        let path = folder.join("floor");
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        file.write_all_at(&vec![0; FLOOR_FILE as usize], 0)?;
        file.sync_all()?;
        Ok(Self { file, piece: vec![0x5A; bytes], at: 0 })
    }

    fn write(&mut self) -> Result<()> {
        self.file.write_all_at(&self.piece, self.at)?;
        self.at = (self.at + self.piece.len() as u64) % (FLOOR_FILE - self.piece.len() as u64);
        Ok(self.file.sync_data()?)
    }
}
