//! Parked cards that wake, among many that are registered.
//!
//! | figure | what | floor |
//! |---|---|---|
//! | `wake` | from an APDU on the channel of a parked card to its answer | birth of a smallest virtual machine + a TLS WebSocket echo |
//! | `apdu_tls_among_cards` | an APDU of 20 bytes on each woken card's channel in turn | the same on one channel |
//! | `signed_after_wake` | cards whose signature verified with the key that they were registered with | as many as were woken |
//! | `registered_cards` | cards that the pages of the list show | as many as were registered |
//! | `list_page` | a page of 1,000 cards, all pages in turn | |
//! | `daemon_memory` | what the daemon has resident with all cards parked | the same without cards |
//! | `daemon_per_card` | by how much that grows with each live card, no channel open | |
//! | `daemon_per_channel` | the same of a live card with its terminal's channel open | |

mod fill;
mod made;

use std::{collections::BTreeSet, fs::File, time::Instant};

use anyhow::{Context, Result, ensure};
use cardhost_wire::{key::KeyReference, tlv};
use nix::unistd::syncfs;
use p256::ecdsa::{DerSignature, VerifyingKey, signature::hazmat::PrehashVerifier};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::{
    card,
    daemon::{Channel, Daemon, Rest, Terminal},
    figure::{Effort, Figure, Report, Samples},
    floor::{fork, kvm::Kvm, tls},
    limits,
};
use fill::Registered;

/// P-256 (SP 800-78-5, table 8).
const P256: u8 = 0x11;
/// The slot whose key needs no PIN.
const KEY: KeyReference = KeyReference::CARD_AUTHENTICATION;
/// What the cards sign: any hash.
const HASH: [u8; 32] = [0x5A; 32];
/// Cards in a page of the list.
const PAGE: usize = 1_000;
/// How often each woken card's turn comes.
const TURNS: usize = 4;
/// Live cards for each of which the daemon's memory grows.
const WARM: usize = 16;

/// Measures with this many registered cards.
pub fn measure(effort: Effort, registered: usize) -> Result<Report> {
    let woken = registered.min(effort.turns * effort.slow);
    limits::make_room(woken)?;
    let births = births(effort)?;
    // From here on there are threads, so nothing is forked any more.
    Runtime::new()?.block_on(among(registered, woken, births.percentile(50)))
}

fn births(effort: Effort) -> Result<Samples> {
    let kvm = Kvm::open()?;
    let _kept = kvm.machine()?;
    let mut births = Samples::default();
    for _ in 0..effort.turns * effort.slow {
        births.time(|| Ok(fork::birth(&kvm)?))?;
    }
    Ok(births)
}

async fn among(count: usize, woken: usize, birth: f64) -> Result<Report> {
    // The first start makes keys and hashes a password, and keeps memory of it.
    let daemon = Daemon::start().await?.stop().await?.restart().await?;
    let empty = daemon.resident()?;
    let stopped = daemon.stop().await?;
    let cards = fill::fill(stopped.data(), &stopped.user, count).await?;
    // What the filling left to be written is not the wakes' to wait for.
    syncfs(File::open(stopped.data())?)?;
    let daemon = stopped.restart().await?;
    let (listed, pages) = list(daemon.operator()).await?;
    let memory = daemon.resident()?;
    let sample = sample(&cards, woken);
    let channels = in_channels(&daemon, &sample).await?;
    let daemon = daemon.stop().await?.restart().await?;
    let live = live(&daemon, &sample).await?;
    let mut report = Report::default();
    report.push(Figure::time("wake", &channels.wakes, birth + channels.echo));
    report.push(Figure::time("apdu_tls_among_cards", &channels.among, channels.alone));
    report.push(Figure::count("signed_after_wake", channels.signed, sample.len()));
    report.push(Figure::count("registered_cards", listed, count));
    report.push(Figure::reported_time("list_page", &pages));
    report.push(Figure::memory("daemon_memory", memory as f64, empty as f64));
    report.push(Figure::reported_memory("daemon_per_card", live));
    report.push(Figure::reported_memory("daemon_per_channel", channels.memory));
    Ok(report)
}

/// Counts the cards in all pages of the list, and times each page.
async fn list(operator: &Rest) -> Result<(usize, Samples)> {
    let (mut listed, mut pages, mut after) = (0, Samples::default(), String::new());
    loop {
        let start = Instant::now();
        let page = operator.get(&format!("v1/cards?limit={PAGE}&after={after}")).await?;
        pages.push(start.elapsed());
        let cards = page["cards"].as_array().context("a page of cards")?;
        listed += cards.len();
        let Some(last) = cards.last() else { return Ok((listed, pages)) };
        last["terminal"].as_str().context("a terminal")?.clone_into(&mut after);
    }
}

/// Some of the cards, in random order and none twice.
fn sample(cards: &[Registered], size: usize) -> Vec<&Registered> {
    let mut rng = ChaCha20Rng::seed_from_u64(cards.len() as u64);
    let (mut seen, mut sample) = (BTreeSet::new(), Vec::with_capacity(size));
    while sample.len() < size {
        let at = (rng.next_u64() % cards.len() as u64) as usize;
        if seen.insert(at) {
            sample.push(&cards[at]);
        }
    }
    sample
}

/// What cards did that woke on their terminals' channels.
struct InChannels {
    wakes: Samples,
    signed: usize,
    /// Exchanges on all channels in turn.
    among: Samples,
    /// Median of exchanges on one of them, microseconds.
    alone: f64,
    /// Median of the TLS echo, microseconds.
    echo: f64,
    /// By how much the daemon grew with each, KiB.
    memory: f64,
}

/// Wakes each card by its terminal's first APDU. All channels stay open until the end.
async fn in_channels(daemon: &Daemon, sample: &[&Registered]) -> Result<InChannels> {
    let mut echo = tls::Echo::connect(crate::TLS_ECHO).await?;
    let (mut wakes, mut echoes, mut signed) = (Samples::default(), Samples::default(), 0);
    let (mut channels, mut before) = (Vec::with_capacity(sample.len()), 0);
    let (select, terminals) = (card::select_piv(), enrol(daemon, sample).await?);
    for (number, (card, terminal)) in sample.iter().zip(&terminals).enumerate() {
        if number == warm(sample) {
            before = daemon.resident()?;
        }
        let mut channel = terminal.channel().await?;
        let start = Instant::now();
        let selected = channel.exchange(&select).await?;
        wakes.push(start.elapsed());
        card::succeeded(&selected)?;
        signed += usize::from(signs(&mut channel, &card.public_key).await?);
        channels.push(channel);
        let start = Instant::now();
        echo.exchange(&select).await?;
        echoes.push(start.elapsed());
    }
    let memory = grown(daemon, before, sample)?;
    let exchanges = TURNS * channels.len();
    let alone = in_turn(&mut channels[..1], exchanges).await?.percentile(50);
    let among = in_turn(&mut channels, exchanges).await?;
    Ok(InChannels { wakes, signed, among, alone, echo: echoes.percentile(50), memory })
}

/// Times so many exchanges, on each of the channels in turn.
async fn in_turn(channels: &mut [Channel], exchanges: usize) -> Result<Samples> {
    let mut samples = Samples::default();
    for number in 0..exchanges {
        let at = number % channels.len();
        let start = Instant::now();
        channels[at].exchange(&card::TWENTY_BYTES).await?;
        samples.push(start.elapsed());
    }
    Ok(samples)
}

/// Before anything is measured: hashing passwords takes memory.
async fn enrol(daemon: &Daemon, sample: &[&Registered]) -> Result<Vec<Terminal>> {
    let mut terminals = Vec::with_capacity(sample.len());
    for card in sample {
        let (terminal, _) = daemon.enrol(card.terminal.as_str()).await?;
        terminals.push(terminal);
    }
    Ok(terminals)
}

/// True if the card signs with this key.
async fn signs(channel: &mut Channel, public_key: &[u8]) -> Result<bool> {
    let response = channel.exchange(&card::general_authenticate(P256, KEY, &HASH)).await?;
    card::succeeded(&response)?;
    let template = tlv::only(&response[..response.len() - 2], 0x7C)?;
    let signature = DerSignature::from_bytes(tlv::only(template, 0x82)?)?;
    Ok(VerifyingKey::from_sec1_bytes(public_key)?.verify_prehash(&HASH, &signature).is_ok())
}

/// By how much the daemon grows with each card that an operator wakes, KiB.
async fn live(daemon: &Daemon, sample: &[&Registered]) -> Result<f64> {
    let mut before = 0;
    for (number, card) in sample.iter().enumerate() {
        if number == warm(sample) {
            before = daemon.resident()?;
        }
        let wake = format!("v1/cards/{}/wake", card.terminal.as_str());
        let woken = daemon.operator().post(&wake, &json!({})).await?;
        ensure!(woken["state"] == "live", "a woken card: {woken}");
    }
    grown(daemon, before, sample)
}

fn grown(daemon: &Daemon, before: u64, sample: &[&Registered]) -> Result<f64> {
    let cards = sample.len() - warm(sample);
    Ok(daemon.resident()?.saturating_sub(before) as f64 / cards as f64)
}

/// Cards after which the daemon has all that it needs once.
fn warm(sample: &[&Registered]) -> usize {
    WARM.min(sample.len() / 2)
}
