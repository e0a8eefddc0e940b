//! `cardhost-bench`: the project's figures, each beside the physical floor that is measured in the same run.
//!
//! | subcommand | figures |
//! |---|---|
//! | `start` | `start_to_first_apdu` |
//! | `latency` | `apdu_in_vmm`, `apdu_unix`, `apdu_tls` |
//! | `crypto` | `p256_sign`, `rsa2048_sign` |
//!
//! A figure and its floor are measured in turns, so that what else the machine does hits both alike. `ratio` is the
//! figure's median divided by the floor's. Floors ([`floor`]) use system calls and no code of this project.

mod card;
mod crypto;
mod daemon;
mod figure;
mod floor;
mod in_process;
mod latency;
mod launcher;
mod start;

use clap::{Parser, Subcommand};

use figure::Effort;

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
}

#[derive(Subcommand)]
enum What {
    /// From the request to start a card to its first answer.
    Start,
    /// Round trip of a 20-byte APDU: in the card's process, over its link, over TLS.
    Latency,
    /// Signatures by GENERAL AUTHENTICATE in the guest, beside the same code on the host and OpenSSL.
    Crypto,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let effort = if arguments.quick { Effort::QUICK } else { Effort::FULL };
    let report = match arguments.what {
        What::Start => start::measure(effort)?,
        What::Latency => latency::measure(effort)?,
        What::Crypto => crypto::measure(effort)?,
    };
    report.print(arguments.json)
}
