//! Many live cards: what each costs, and how they start and answer among the others.
//!
//! | figure | what | floor |
//! |---|---|---|
//! | `memory_per_card` | everything that the machine has less for each card, launcher included | as many processes with the smallest virtual machine, each after one exit |
//! | `live_cards` | how many live at a time, each of which has answered in the last round | as many smallest machines |
//! | `start_at_last` | start to first answer, the last tenth of them | the same of the smallest machines at that count |
//! | `apdu_among_cards` | round trip of a 20-byte APDU over the link, all cards in turn | the same with one card |
//! | `neighbour_p99` | 99th percentile of that round trip, of a few cards in turn while another computes on the same core without end | the same without it |
//! | `apdu_among_machines` | the same with the smallest machines, in turn: the platform's own share | the same with one |

use anyhow::Result;

use crate::{
    card::{Card, TWENTY_BYTES},
    figure::{Effort, Figure, Report, Samples, in_turn},
    floor::{fork::Echo, kvm::Kvm},
    launcher::{Launcher, Link},
    limits, memory, neighbour,
};

/// Other hosts on the machine of `SPECIFICATION.md`, measured on one day. Notes, for they are not the same thing.
const PEERS: [&str; 7] = [
    "peers, to first answer | round trip | memory for each VM (their guests begin in ring 0, which this machine emulates:",
    "compare what the host's side costs):",
    "  Firecracker 1.17-dev, bare guest   11.2 ms | 108-132 us | 1,610-1,730 KiB, no Linux counted; restored snapshot 8.2 ms, 1,467 KiB",
    "  Hyperlight 0.18, host's side        1.8 ms | -          | 1,133 KiB; from a snapshot 0.7 ms, 654 KiB; threads of one process, no sandbox",
    "  Solo5-hvt                           4.5 ms from exec to exit |  838 KiB",
    "  QEMU 7.2 microvm                   29.9 ms | -          | 14,670 KiB",
    "here a card is a process of its own under seccomp, and its guest a whole card OS:",
];

/// Measures with this many cards, with control groups below `parent` if one is given.
pub fn measure(effort: Effort, cards: usize, parent: Option<&str>) -> Result<Report> {
    limits::make_room(cards)?;
    let exchanges = (effort.turns * effort.fast).max(cards);
    let floor = floor(&Kvm::open()?, cards, exchanges)?;
    let before = memory::available()?;
    let launcher = Launcher::start(parent, 0)?;
    let mut first = vec![Card::start(launcher.card()?)?];
    let alone = in_turn(&mut first, exchanges, transmit)?.percentile(50);
    let (mut all, starts) = start(&launcher, first, cards)?;
    let memory = before.saturating_sub(memory::available()?) as f64 / cards as f64;
    let among = in_turn(&mut all, exchanges, transmit)?;
    let live = all.iter_mut().filter_map(|card| transmit(card).ok()).count();
    let mut report = Report::default();
    report.push(Figure::memory("memory_per_card", memory, floor.memory));
    report.push(Figure::count("live_cards", live, cards));
    report.push(Figure::time("start_at_last", &starts, floor.starts.percentile(50)));
    report.push(Figure::time("apdu_among_cards", &among, alone));
    report.push(Figure::time("apdu_among_machines", &floor.among, floor.alone));
    report.push(neighbour::measure(&launcher, &mut all, effort)?);
    report.note(format!(
        "beside the smallest machines a card in turn takes {:.2} times as long, and a card alone {:.2} times",
        among.percentile(50) / floor.among.percentile(50),
        alone / floor.alone
    ));
    PEERS.iter().for_each(|line| report.note((*line).to_owned()));
    report.note(format!("  cardhost                           {memory:.0} KiB for each of {cards} cards"));
    Ok(report)
}

/// The smallest machines in place of cards.
struct Floor {
    memory: f64,
    starts: Samples,
    alone: f64,
    among: Samples,
}

fn floor(kvm: &Kvm, count: usize, exchanges: usize) -> Result<Floor> {
    let birth = || -> Result<Echo> {
        let mut echo = Echo::start(kvm)?;
        exchange(&mut echo)?;
        Ok(echo)
    };
    let before = memory::available()?;
    let mut all = vec![birth()?];
    let alone = in_turn(&mut all, exchanges, exchange)?.percentile(50);
    let starts = fill(&mut all, count, birth)?;
    let memory = before.saturating_sub(memory::available()?) as f64 / count as f64;
    let among = in_turn(&mut all, exchanges, exchange)?;
    Ok(Floor { memory, starts, alone, among })
}

fn start(launcher: &Launcher, first: Vec<Card<Link>>, count: usize) -> Result<(Vec<Card<Link>>, Samples)> {
    let mut all = first;
    let starts = fill(&mut all, count, || {
        let mut card = Card::start(launcher.card()?)?;
        transmit(&mut card)?;
        Ok(card)
    })?;
    Ok((all, starts))
}

/// Makes more until there are `count`; times the last tenth.
fn fill<T>(all: &mut Vec<T>, count: usize, mut birth: impl FnMut() -> Result<T>) -> Result<Samples> {
    let mut starts = Samples::default();
    while all.len() < count {
        let born = match all.len() < count - count / 10 {
            true => birth()?,
            false => starts.time(&mut birth)?,
        };
        all.push(born);
    }
    Ok(starts)
}

fn transmit(card: &mut Card<Link>) -> Result<()> {
    card.transmit(&TWENTY_BYTES).map(drop)
}

fn exchange(echo: &mut Echo) -> Result<()> {
    Ok(echo.exchange(&TWENTY_BYTES)?)
}
