//! Many live cards: what each costs, and how they start and answer among the others.
//!
//! | figure | what | floor |
//! |---|---|---|
//! | `memory_per_card` | everything that the machine has less for each card, launcher included | as many processes with the smallest virtual machine, each after one exit |
//! | `start_among_cards` | start to first answer, the last tenth of them | the same of the smallest machines at that count |
//! | `apdu_among_cards` | round trip of a 20-byte APDU over the link, all cards in turn | the same with one card |

use anyhow::{Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{
    card::{Card, TWENTY_BYTES},
    figure::{Effort, Figure, Report, Samples},
    floor::{fork::Echo, kvm::Kvm},
    launcher::{Launcher, Link},
    memory,
};

/// Measures with this many cards.
pub fn measure(effort: Effort, cards: usize) -> Result<Report> {
    raise_descriptors(cards as u64 + 64)?;
    let kvm = Kvm::open()?;
    let floor = floor(&kvm, cards)?;
    let mut report = Report::default();
    let before = memory::available()?;
    let launcher = Launcher::start()?;
    let mut first = Card::start(launcher.card()?)?;
    launcher.take_started()?;
    let alone = round_trips(&mut [&mut first], effort.turns * effort.fast)?;
    let (mut all, starts) = start(&launcher, first, cards)?;
    let memory = (before.saturating_sub(memory::available()?)) as f64 / cards as f64;
    report.push(Figure::memory("memory_per_card", memory, floor.memory));
    report.push(Figure::time("start_among_cards", &starts, floor.starts.percentile(50)));
    let mut in_turn: Vec<_> = all.iter_mut().collect();
    let among = round_trips(&mut in_turn, (effort.turns * effort.fast).max(cards))?;
    report.push(Figure::time("apdu_among_cards", &among, alone.percentile(50)));
    report.note(format!("{cards} live cards, each of which has answered"));
    Ok(report)
}

struct Floor {
    memory: f64,
    starts: Samples,
}

fn floor(kvm: &Kvm, count: usize) -> Result<Floor> {
    let before = memory::available()?;
    let (mut starts, mut all) = (Samples::default(), Vec::with_capacity(count));
    let birth = || -> Result<Echo> {
        let mut echo = Echo::start(kvm)?;
        echo.exchange(&TWENTY_BYTES)?;
        Ok(echo)
    };
    for number in 0..count {
        match number < count - count / 10 {
            true => all.push(birth()?),
            false => all.push(starts.time(birth)?),
        }
    }
    let memory = before.saturating_sub(memory::available()?) as f64 / count as f64;
    Ok(Floor { memory, starts })
}

/// Starts cards until there are `count`; times the last tenth.
fn start(launcher: &Launcher, first: Card<Link>, count: usize) -> Result<(Vec<Card<Link>>, Samples)> {
    let (mut starts, mut all) = (Samples::default(), vec![first]);
    let birth = || -> Result<Card<Link>> {
        let mut card = Card::start(launcher.card()?)?;
        card.transmit(&TWENTY_BYTES)?;
        Ok(card)
    };
    while all.len() < count {
        match all.len() < count - count / 10 {
            true => all.push(birth()?),
            false => all.push(starts.time(birth)?),
        }
        launcher.take_started()?;
    }
    Ok((all, starts))
}

fn round_trips(cards: &mut [&mut Card<Link>], count: usize) -> Result<Samples> {
    let mut samples = Samples::default();
    for number in 0..count {
        let at = number % cards.len();
        samples.time(|| cards[at].transmit(&TWENTY_BYTES))?;
    }
    Ok(samples)
}

fn raise_descriptors(wanted: u64) -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    ensure!(most >= wanted, "{wanted} descriptors are needed, the limit is {most} (ulimit -Hn)");
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}
