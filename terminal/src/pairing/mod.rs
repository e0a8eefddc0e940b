//! Pairing with a card, and secure communication with it, from the terminal's side (`docs/pairing.md`).
//!
//! ```text
//! bridge ─▶ flow ─┬─▶ scp03   authentication by a pairing's key set
//!                 ├─▶ scp11   set-up by certified keys
//!                 ├─▶ revoked what the authority says of the card: ocsp
//!                 └─▶ domain  the other commands of the pairing security domain
//!           session           each command and response whole, under the session's keys
//! ```

pub mod certificate;
pub mod crypto;
mod domain;
pub mod flow;
pub mod ocsp;
mod revoked;
pub mod scp03;
mod scp11;
pub mod session;
