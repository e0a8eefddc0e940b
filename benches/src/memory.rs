//! Memory that the machine has left.

use std::fs;

use anyhow::{Context, Result};

const KIB_PER_PAGE: u64 = 4;

/// Available memory, KiB: `MemAvailable` and the pages on the per-CPU free lists, without which it errs by tens of
/// megabytes (proc(5), `/proc/meminfo` and `/proc/zoneinfo`).
pub fn available() -> Result<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let available: u64 = line.context("MemAvailable")?.trim().trim_end_matches(" kB").parse()?;
    let zones = fs::read_to_string("/proc/zoneinfo")?;
    let counts = zones.lines().filter_map(|line| line.trim().strip_prefix("count:"));
    let pages: u64 = counts.filter_map(|count| count.trim().parse::<u64>().ok()).sum();
    Ok(available + pages * KIB_PER_PAGE)
}
