//! Naming what ended a guest.

use cardhost_wire::link::{Crash, CrashCause};

use crate::image::Symbols;

/// Page fault (Intel SDM volume 3, 6.3.1).
const PAGE_FAULT: u8 = 14;

/// A crash at this instruction.
pub fn at(rip: u64, symbols: &Symbols, cause: CrashCause) -> Crash {
    Crash { cause, rip, symbol: symbols.resolve(rip) }
}

/// One line for the log.
pub fn describe(crash: &Crash) -> String {
    format!("{} at rip {:#x} {}", cause(&crash.cause), crash.rip, crash.symbol)
}

fn cause(cause: &CrashCause) -> String {
    match cause {
        CrashCause::Exception { vector: Some(PAGE_FAULT), error_code, address } => {
            format!("page fault, error code {error_code:#x}, address {address:#x}")
        }
        CrashCause::Exception { vector: Some(vector), error_code, .. } => {
            format!("exception {vector}, error code {error_code:#x}")
        }
        CrashCause::Exception { vector: None, .. } => "unknown exception".to_owned(),
        CrashCause::Runaway { budget_ms } => format!("no answer within {budget_ms} ms of CPU time"),
        CrashCause::Protocol(what) | CrashCause::UnexpectedExit(what) => what.clone(),
    }
}
