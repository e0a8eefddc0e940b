//! `start_to_first_apdu`: from the request to the launcher to the first response of a new card.
//!
//! Floor: a forked process that makes a virtual machine with one vCPU and one memory slot and runs it to its first
//! exit in ring 3.

use anyhow::Result;

use crate::{
    card::{Card, TWENTY_BYTES},
    figure::{Effort, Figure, Report, Samples},
    floor::{fork, kvm::Kvm},
    launcher::{Launcher, Link},
};

/// Measures it, with control groups below `parent` if one is given.
pub fn measure(effort: Effort, parent: Option<&str>) -> Result<Report> {
    let kvm = Kvm::open()?;
    // While a vCPU lives, making another is faster; the launcher keeps one too.
    let _kept = kvm.machine()?;
    let launcher = Launcher::start(parent)?;
    let (mut starts, mut floors) = (Samples::default(), Samples::default());
    for _ in 0..effort.turns * effort.slow {
        let card = starts.time(|| first_answer(&launcher))?;
        drop(card);
        launcher.wait_ended()?;
        floors.time(|| Ok(fork::birth(&kvm)?))?;
    }
    let mut report = Report::default();
    report.push(Figure::time("start_to_first_apdu", &starts, floors.percentile(50)));
    Ok(report)
}

fn first_answer(launcher: &Launcher) -> Result<Card<Link>> {
    let mut card = Card::start(launcher.card()?)?;
    card.transmit(&TWENTY_BYTES)?;
    Ok(card)
}
