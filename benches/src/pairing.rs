//! Pairing and secure messaging by the terminal's own code, through the daemon and the terminal's channel.
//!
//! | figure | what | floor |
//! |---|---|---|
//! | `set_up` | card certificate, SCP11a, VERIFY, PUT KEY: once per card and terminal | one round trip of a 20-byte APDU |
//! | `authenticate` | INITIALIZE UPDATE, EXTERNAL AUTHENTICATE: once per session | the same |
//! | `set_up_over_authenticate` | what a pairing saves each session | |
//! | `secure_messaging_overhead` | what a session adds to an APDU of 255 bytes | that APDU in plain |

use anyhow::{Context, Result, anyhow};
use cardhost_terminal::pairing::{
    certificate::Identity,
    flow::{self, Known, Link, PairingError, Pairings},
    scp03::DIVERSIFICATION,
    session::Session,
};
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use crate::{
    card::{PIN, TWENTY_BYTES},
    daemon::{Channel, Daemon},
    figure::{Effort, Figure, Report, Samples},
};

/// A command of 255 bytes whose instruction does not exist.
const COMMAND: [u8; 255] = {
    let mut command = [0x5A; 255];
    (command[0], command[1], command[2], command[3]) = (0x00, 0x01, 0x00, 0x00);
    (command[4], command[254]) = (249, 0x00);
    command
};

/// Measures all four.
pub fn measure(effort: Effort) -> Result<Report> {
    Runtime::new()?.block_on(measure_all(effort))
}

async fn measure_all(effort: Effort) -> Result<Report> {
    let daemon = Daemon::start().await?;
    let (terminal, identity) = daemon.terminal_to_pair("bench-terminal").await?;
    let mut bench = Bench {
        plain: terminal.channel_of("apdu-gate").await?,
        paired: terminal.channel_of("spi").await?,
        identity,
        kept: Kept::default(),
    };
    let (mut set_ups, mut authentications) = (Samples::default(), Samples::default());
    let (mut exchanges, mut plain, mut secured) = <(Samples, Samples, Samples)>::default();
    for _ in 0..effort.turns {
        for _ in 0..effort.slow {
            bench.set_up(&mut set_ups).await?;
            bench.authenticate(&mut authentications).await?;
            exchange(&mut bench.plain, &TWENTY_BYTES, &mut exchanges).await?;
        }
        let mut session = bench.authenticate(&mut authentications).await?;
        for _ in 0..effort.fast / 2 {
            exchange(&mut bench.plain, &COMMAND, &mut plain).await?;
            bench.secured(&mut session, &mut secured).await?;
        }
    }
    let (floor, plain, secured) = (exchanges.percentile(50), plain.percentile(50), secured.percentile(50));
    let gain = set_ups.percentile(50) / authentications.percentile(50);
    let mut report = Report::default();
    report.push(Figure::time("set_up", &set_ups, floor));
    report.push(Figure::time("authenticate", &authentications, floor));
    report.push(Figure::ratio("set_up_over_authenticate", gain));
    report.push(Figure::single_time("secure_messaging_overhead", secured - plain, plain));
    Ok(report)
}

/// One card's two channels, and what its terminal knows.
struct Bench {
    plain: Channel,
    paired: Channel,
    identity: Identity,
    kept: Kept,
}

impl Bench {
    async fn set_up(&mut self, samples: &mut Samples) -> Result<()> {
        let mut way = Way(&mut self.paired);
        let card = flow::select(&mut way).await?;
        let start = std::time::Instant::now();
        flow::set_up(&mut way, &card, &self.identity, &mut self.kept).await?;
        samples.push(start.elapsed());
        Ok(())
    }

    async fn authenticate(&mut self, samples: &mut Samples) -> Result<Session> {
        let mut way = Way(&mut self.paired);
        flow::select(&mut way).await?;
        let Known { set, .. } = self.kept.0.clone().context("a pairing")?;
        let start = std::time::Instant::now();
        let session = flow::authenticate(&mut way, &set).await?;
        samples.push(start.elapsed());
        session.ok_or_else(|| anyhow!("the card does not know the pairing"))
    }

    async fn secured(&mut self, session: &mut Session, samples: &mut Samples) -> Result<()> {
        let start = std::time::Instant::now();
        let envelope = session.wrap(&COMMAND)?;
        let answer = self.paired.exchange(&envelope).await?;
        let response = session.unwrap(&answer)?;
        samples.push(start.elapsed());
        anyhow::ensure!(*response == [0x6D, 0x00], "the card answers {}", hex::encode(&*response));
        Ok(())
    }
}

async fn exchange(channel: &mut Channel, command: &[u8], samples: &mut Samples) -> Result<()> {
    let start = std::time::Instant::now();
    channel.exchange(command).await?;
    samples.push(start.elapsed());
    Ok(())
}

/// The channel as the flow of a pairing uses it.
struct Way<'a>(&'a mut Channel);

#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
struct Broken(anyhow::Error);

impl Link for Way<'_> {
    type Error = Broken;

    async fn exchange(&mut self, command: &[u8]) -> Result<Vec<u8>, Broken> {
        self.0.exchange(command).await.map_err(Broken)
    }
}

/// The one pairing, in memory: neither a disk is measured nor the authority.
#[derive(Default)]
struct Kept(Option<Known>);

impl Pairings for Kept {
    fn find(&self, _: &[u8; DIVERSIFICATION]) -> Result<Option<Known>, PairingError> {
        Ok(self.0.clone())
    }

    fn keep(&mut self, _: &[u8; DIVERSIFICATION], known: &Known) -> Result<(), PairingError> {
        self.0 = Some(known.clone());
        Ok(())
    }

    fn is_revoked(&self, _: &[u8; DIVERSIFICATION], _: Option<&[u8]>) -> Result<bool, PairingError> {
        Ok(false)
    }

    fn revoke(&mut self, card: &[u8; DIVERSIFICATION], _: &[u8]) -> Result<(), PairingError> {
        self.forget(card)
    }

    async fn status(&mut self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn forget(&mut self, _: &[u8; DIVERSIFICATION]) -> Result<(), PairingError> {
        self.0 = None;
        Ok(())
    }

    async fn ask_pin(&mut self) -> Result<Zeroizing<String>, PairingError> {
        Ok(Zeroizing::new(String::from_utf8_lossy(PIN).into_owned()))
    }
}
