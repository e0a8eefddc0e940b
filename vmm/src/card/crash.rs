//! Naming what ended a guest.

use cardhost_wire::link::{Crash, CrashCause};
use kvm_ioctls::VcpuFd;

use crate::image::Symbols;

/// Page fault (Intel SDM volume 3, 6.3.1).
const PAGE_FAULT: u8 = 14;

/// A guest's exception that nobody handles shuts its processor down. KVM's event state names it where the
/// processor was not reset meanwhile; elsewhere the vector is unknown.
pub fn exception(vcpu: &VcpuFd, symbols: &Symbols) -> Crash {
    let events = vcpu.get_vcpu_events().map(|events| events.exception).unwrap_or_default();
    let vector = (events.injected != 0 || events.pending != 0 || events.nr != 0).then_some(events.nr);
    let address = match vector {
        Some(PAGE_FAULT) => vcpu.get_sregs().map_or(0, |registers| registers.cr2),
        _ => 0,
    };
    at(vcpu, symbols, CrashCause::Exception { vector, error_code: events.error_code, address })
}

/// A crash at the guest's present instruction.
pub fn at(vcpu: &VcpuFd, symbols: &Symbols, cause: CrashCause) -> Crash {
    let rip = vcpu.get_regs().map_or(0, |registers| registers.rip);
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
