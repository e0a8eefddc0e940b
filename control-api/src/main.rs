//! `cardhost`: the host daemon and its operator commands.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    cardhost::cli::run()
}
