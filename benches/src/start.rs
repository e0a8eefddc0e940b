//! From the request to the launcher to the first response of a new card.
//!
//! | figure | what |
//! |---|---|
//! | `start_to_first_apdu` | the process waits in the warm pool; starts come with a pause between them |
//! | `start_without_pool` | the process is made for the card |
//!
//! Floor of both: a forked process that makes a virtual machine with one vCPU and one memory slot and runs it to its first
//! exit in ring 3.

use std::{thread, time::Duration};

use anyhow::Result;

use crate::{
    card::{Card, TWENTY_BYTES},
    figure::{Effort, Figure, Report, Samples},
    floor::{fork, kvm::Kvm},
    launcher::{Launcher, Link},
};

/// Processes that wait, as a host has them that is told nothing else.
const WARM_POOL: u16 = 4;
/// In which the launcher has made another process several times over.
const PAUSE: Duration = Duration::from_millis(10);

/// Measures both, with control groups below `parent` if one is given.
pub fn measure(effort: Effort, parent: Option<&str>) -> Result<Report> {
    let kvm = Kvm::open()?;
    // While a vCPU lives, making another is faster; the launcher keeps one too.
    let _kept = kvm.machine()?;
    let (pool, none) = (Launcher::start(parent, WARM_POOL)?, Launcher::start(parent, 0)?);
    let (mut warm, mut cold, mut floors) = <(Samples, Samples, Samples)>::default();
    for _ in 0..effort.turns * effort.slow {
        thread::sleep(PAUSE);
        for (launcher, starts) in [(&pool, &mut warm), (&none, &mut cold)] {
            let card = starts.time(|| first_answer(launcher))?;
            drop(card);
            launcher.wait_ended()?;
        }
        floors.time(|| Ok(fork::birth(&kvm)?))?;
    }
    let floor = floors.percentile(50);
    let mut report = Report::default();
    report.push(Figure::time("start_to_first_apdu", &warm, floor));
    report.push(Figure::time("start_without_pool", &cold, floor));
    Ok(report)
}

fn first_answer(launcher: &Launcher) -> Result<Card<Link>> {
    let mut card = Card::start(launcher.card()?)?;
    card.transmit(&TWENTY_BYTES)?;
    Ok(card)
}
