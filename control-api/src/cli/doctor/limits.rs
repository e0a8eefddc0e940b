//! How many cards the limits leave room for. A card is one process and one kernel thread of KVM, and one
//! descriptor in the daemon.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

use super::{Finding, number, read};

/// Process ids that a card takes.
const PIDS_PER_CARD: u64 = 2;
/// Descriptors that the daemon takes for itself.
const OWN_DESCRIPTORS: u64 = 128;
/// As many cards as a host should have room for.
const ENOUGH: u64 = 10_000;
/// Without room for these no card runs.
const FEWEST: u64 = 2;

pub(super) fn check() -> Vec<Finding> {
    let pid_max = number("/proc/sys/kernel/pid_max").unwrap_or(32_768);
    let mut findings = vec![
        room("pid_max", pid_max, pid_max / PIDS_PER_CARD, "sudo sysctl -w kernel.pid_max=4194304"),
        resource("nofile", Resource::RLIMIT_NOFILE, |limit| limit.saturating_sub(OWN_DESCRIPTORS)),
        resource("nproc", Resource::RLIMIT_NPROC, |limit| limit / PIDS_PER_CARD),
    ];
    findings.extend(memory());
    findings
}

fn resource(check: &'static str, resource: Resource, cards: impl Fn(u64) -> u64) -> Finding {
    match getrlimit(resource) {
        Ok((_, RLIM_INFINITY)) => Finding::good(check, "unlimited"),
        Ok((_, hard)) => {
            let advice = format!(
                "raise `{check}` in /etc/security/limits.conf, or Limit{} in the unit",
                check.to_uppercase()
            );
            room(check, hard, cards(hard), &advice)
        }
        Err(error) => Finding::warning(check, error.to_string(), "cannot tell the limit"),
    }
}

fn room(check: &'static str, limit: u64, cards: u64, advice: &str) -> Finding {
    let observed = format!("{limit}: room for about {cards} cards");
    match cards {
        ENOUGH.. => Finding::good(check, observed),
        FEWEST.. => Finding::warning(check, observed, advice),
        _ => Finding::failure(check, observed, advice),
    }
}

fn memory() -> Option<Finding> {
    let available = read("/proc/meminfo")?.lines().find_map(|line| {
        line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    })?;
    Some(Finding::good("memory", format!("{} MiB available", available / 1024)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Verdict;

    #[test]
    fn few_cards_are_a_warning_and_none_a_failure() {
        for (cards, verdict) in [(20_000, Verdict::Good), (500, Verdict::Warning), (0, Verdict::Failure)] {
            assert_eq!(room("nofile", cards, cards, "raise it").verdict, verdict);
        }
    }
}
