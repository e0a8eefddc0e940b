//! `cardhost-bench`: the project's figures, each beside the physical floor that is measured in the same run.
//!
//! | subcommand | figures |
//! |---|---|
//! | `start` | `start_to_first_apdu` |
//! | `density` | `memory_per_card`, `live_cards`, `start_at_last`, `apdu_among_cards`, `apdu_among_machines`, `neighbour_p99` |
//! | `wake` | `wake`, `signed_after_wake`, `registered_cards`, `list_page`, `daemon_memory`, `daemon_per_card`, `daemon_per_channel` |
//! | `latency` | `apdu_in_vmm`, `apdu_unix`, `apdu_tls` |
//! | `commit` | `commit`, `commit_together`, `commits_per_sync` |
//! | `crypto` | `p256_sign`, `rsa2048_sign` |
//! | `pairing` | `set_up`, `authenticate`, `set_up_over_authenticate`, `secure_messaging_overhead` |
//!
//! A figure and its floor are measured in turns, so that what else the machine does hits both alike. `ratio` is the
//! figure's median divided by the floor's. Floors ([`floor`]) use system calls and no code of this project.
//!
//! All processes share one core unless `--spread` is given: an exchange has one of them at work at a time, and
//! waking another core costs as much as everything else together, depending on where the scheduler puts whom.

mod card;
mod commit;
mod crypto;
mod daemon;
mod density;
mod figure;
mod floor;
mod in_process;
mod latency;
mod launcher;
mod limits;
mod memory;
mod neighbour;
mod pairing;
mod start;
mod wake;

use clap::{Parser, Subcommand};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use figure::Effort;

/// The subcommand of the TLS floor's server.
const TLS_ECHO: &str = "tls-echo";

/// Measures cardhost beside the physical floor of this machine.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    what: What,
    /// One JSON object per line instead of a table.
    #[arg(long, global = true)]
    json: bool,
    /// Fewer repetitions: each subcommand takes less than 30 seconds.
    #[arg(long, global = true)]
    quick: bool,
    /// Leave it to the scheduler which core each process runs on, instead of keeping all on one.
    #[arg(long, global = true)]
    spread: bool,
}

#[derive(Subcommand)]
enum What {
    /// From the request to start a card to its first answer.
    Start(Groups),
    /// Many live cards: memory, starts and round trips among them. Two process ids and a descriptor each.
    Density {
        /// How many.
        #[arg(long, default_value_t = 1_000)]
        cards: usize,
        #[command(flatten)]
        groups: Groups,
    },
    /// From an APDU for a parked card to its answer, among many registered cards.
    ///
    /// Fills the store of a stopped daemon with parked cards, each with a sealed state and a key of its own, wakes
    /// some of them at random and checks their signatures. A million take some 4 GiB of disk and half an hour.
    Wake {
        /// How many cards there are.
        #[arg(long, value_name = "N", default_value_t = 1_000)]
        registered: usize,
    },
    /// Round trip of a 20-byte APDU: in the card's process, over its link, over TLS.
    Latency,
    /// An APDU that is made durable before it is answered, beside one fdatasync of as many bytes.
    Commit,
    /// Signatures by GENERAL AUTHENTICATE in the guest, beside the same code on the host and OpenSSL.
    Crypto,
    /// Pairing of a card with a terminal, and secure messaging between them.
    Pairing,
    /// The server of the TLS floor; started by `latency`.
    #[command(name = TLS_ECHO, hide = true)]
    TlsEcho,
}

/// What `cardhost serve` may be told as well.
#[derive(clap::Args)]
struct Groups {
    /// Each card in a control group below this one.
    #[arg(long, value_name = "PATH")]
    cgroup: Option<String>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let effort = if arguments.quick { Effort::QUICK } else { Effort::FULL };
    if !arguments.spread {
        stay_on_one_core()?;
    }
    let report = match arguments.what {
        What::Start(groups) => start::measure(effort, groups.cgroup.as_deref())?,
        What::Density { cards, groups } => density::measure(effort, cards, groups.cgroup.as_deref())?,
        What::Wake { registered } => wake::measure(effort, registered)?,
        What::Latency => latency::measure(effort)?,
        What::Commit => commit::measure(effort)?,
        What::Crypto => crypto::measure(effort)?,
        What::Pairing => pairing::measure(effort)?,
        What::TlsEcho => return tokio::runtime::Runtime::new()?.block_on(floor::tls::serve()),
    };
    report.print(arguments.json)
}

/// This process, and with it all that it starts, on the last core that it may use: the first serves most interrupts.
fn stay_on_one_core() -> nix::Result<()> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this)?;
    let mut one = CpuSet::new();
    let last = (0..CpuSet::count()).rev().find(|core| allowed.is_set(*core).unwrap_or(false));
    one.set(last.unwrap_or(0))?;
    sched_setaffinity(this, &one)
}
