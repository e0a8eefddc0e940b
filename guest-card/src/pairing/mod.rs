//! Pairing of the card with terminals (`docs/pairing.md`). The pairing security domain belongs to the card OS: it stands
//! before the router, so that a session covers every application and survives SELECT.
//!
//! ```text
//! plain:   domain  SELECT · GET DATA · SCP11a (set-up) · SCP03 (paired) ──▶ session::Protected
//! set-up:  set_up  VERIFY · GET DATA · PUT KEY                                   │
//! paired:  ENVELOPE with a whole command ──▶ session::Session ──▶ router ◀───────┘
//! host:    host    request · certify · revoke · read · delete · policy
//!             ▼
//!          record, pairings, revocation: what the card remembers
//! ```

mod certification;
mod domain;
mod ended;
mod host;
mod kvn;
mod pairings;
mod record;
mod revocation;
mod session;
mod set_up;

use cardhost_wire::{pairing::PairingPolicy, status::Status};

use crate::{container::CardOs, nvm, services};
pub use domain::{Domain, Outcome};
pub use ended::Ended;
pub use host::command;
pub use session::{Protected, is_envelope, is_secured};

type Part<'a> = nvm::Part<'a, CardOs>;
type Change = nvm::Change<CardOs>;
type Services<'a> = services::Services<'a, CardOs>;

/// What an unpaired terminal may do.
///
/// # Errors
/// `6581`: the record is not one of ours.
pub fn policy(nvm: Part<'_>) -> Result<PairingPolicy, Status> {
    Ok(nvm::structure::load(nvm, record::POLICY)?.unwrap_or_default())
}
