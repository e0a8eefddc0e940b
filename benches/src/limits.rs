//! Room for many processes and descriptors.

use std::fs;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// A card is its process and a kernel thread of KVM.
const TASKS_PER_CARD: u64 = 2;
/// Descriptors of the measurement itself.
const OWN_DESCRIPTORS: u64 = 64;

/// Raises what this process may raise; says what to change where that does not do.
///
/// # Errors
/// The machine has no room for as many cards.
pub fn make_room(cards: usize) -> Result<()> {
    let cards = cards as u64;
    descriptors(cards + OWN_DESCRIPTORS)?;
    for limit in ["pid_max", "threads-max"] {
        tasks(limit, cards * TASKS_PER_CARD + others()?)?;
    }
    Ok(())
}

fn descriptors(wanted: u64) -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let raised = most.max(wanted);
    let advice = "raise the limit: ulimit -Hn, at most fs.nr_open";
    setrlimit(Resource::RLIMIT_NOFILE, raised, raised)
        .with_context(|| format!("{wanted} descriptors are needed, and {most} are allowed; {advice}"))
}

fn tasks(limit: &str, wanted: u64) -> Result<()> {
    let allowed: u64 = fs::read_to_string(format!("/proc/sys/kernel/{limit}"))?.trim().parse()?;
    ensure!(
        allowed >= wanted,
        "each card takes {TASKS_PER_CARD} of kernel.{limit}, with all others {wanted}, and {allowed} are allowed; \
         raise it: sysctl -w kernel.{limit}={}",
        wanted.next_power_of_two()
    );
    Ok(())
}

/// Tasks that run already (proc(5), `/proc/loadavg`).
fn others() -> Result<u64> {
    let load = fs::read_to_string("/proc/loadavg")?;
    let all = load.split_whitespace().nth(3).and_then(|tasks| tasks.split_once('/'));
    Ok(all.context("/proc/loadavg")?.1.parse()?)
}
