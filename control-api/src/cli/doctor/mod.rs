//! `cardhost doctor`: can this machine run cards, and what to change if not.

mod kernel;
mod kvm;
mod layers;
mod limits;

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

/// Checks whether this machine can run cards and says what to change.
///
/// Looks at /dev/kvm, at the limits of processes and open files, and at the kernel's means of isolation (control
/// groups, user namespaces, seccomp). Lists the layers between cards and host, and what to do for each that is missing: those
/// of the daemon of the data directory if it runs, else those that one would have that you start here. Ends with a
/// non-zero status if cards cannot run; what only makes cards fewer or less isolated is a warning. Says too whether cards could run as processes, which `cardhost serve` does only with
/// --insecure-process-isolation.
#[derive(Args)]
pub struct Doctor {
    /// Data directory of the daemon to ask, if it runs.
    #[arg(long, value_name = "DIR", default_value = "cardhost-data", env = "CARDHOST_DATA")]
    data: PathBuf,
    /// Try control groups below this one, as `cardhost serve --cgroup` would, if no daemon runs.
    #[arg(long, value_name = "PATH", env = "CARDHOST_CGROUP")]
    cgroup: Option<PathBuf>,
    /// Print one JSON object per check.
    #[arg(long)]
    json: bool,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    /// What was seen.
    observed: String,
    /// What to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// What it means for cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Good,
    /// Cards run, but fewer or with less isolation.
    Warning,
    /// Cards cannot run.
    Failure,
}

impl Finding {
    fn good(check: &'static str, observed: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Good, observed: observed.into(), advice: None }
    }

    fn warning(check: &'static str, observed: impl Into<String>, advice: impl Into<String>) -> Self {
        let advice = Some(advice.into());
        Self { check, verdict: Verdict::Warning, observed: observed.into(), advice }
    }

    fn failure(check: &'static str, observed: impl Into<String>, advice: impl Into<String>) -> Self {
        let advice = Some(advice.into());
        Self { check, verdict: Verdict::Failure, observed: observed.into(), advice }
    }

    fn line(&self) -> String {
        let mark = match self.verdict {
            Verdict::Good => "ok  ",
            Verdict::Warning => "warn",
            Verdict::Failure => "FAIL",
        };
        let advice = self.advice.iter().map(|advice| format!("\n        → {advice}"));
        format!("{mark}  {:<16} {}{}", self.check, self.observed, advice.collect::<String>())
    }
}

impl Doctor {
    /// Prints every finding; an error if cards cannot run.
    pub fn run(self) -> anyhow::Result<()> {
        let daemons = layers::of_daemon(&self.data);
        // A daemon that runs has the group for itself.
        let found = kvm::check(self.cgroup.as_deref().filter(|_| daemons.is_none()));
        let layers = daemons.unwrap_or(found.layers);
        let findings = [found.machine, layers, limits::check(), kernel::check()].concat();
        for finding in &findings {
            if self.json {
                println!("{}", serde_json::to_string(finding)?);
            } else {
                println!("{}", finding.line());
            }
        }
        let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Failure).count();
        anyhow::ensure!(failed == 0, "cards cannot run on this machine: {failed} checks failed");
        Ok(())
    }
}

/// Whether cards can be microVMs here, or what keeps them from it.
///
/// # Errors
/// What the first failing check saw.
pub(super) fn microvms() -> Result<(), String> {
    let failed = kvm::check(None).machine.into_iter().find(|finding| finding.verdict == Verdict::Failure);
    failed.map_or(Ok(()), |finding| Err(format!("{}: {}", finding.check, finding.observed)))
}

/// A file of /proc or /sys, trimmed; `None` if it is not there.
fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// A number from such a file.
fn number(path: &str) -> Option<u64> {
    read(path)?.parse().ok()
}
