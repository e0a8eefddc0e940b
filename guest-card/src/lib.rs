//! The card OS: a `no_std` library, whole and testable on the host.
//!
//! ```text
//! Card::transmit ─┬─ control port ─▶ control ──────────────────────────────────┐
//!                 └─ APDU port ─▶ tunnel: in plain or by a pairing session     │
//!                                    ├─▶ pairing (its security domain) ◀───────┤
//!                                    └─▶ session: logical channel, chain, Le   │
//!                                           └─▶ router ─▶ isd · piv · uicc ◀───┘
//!                                                            │
//!                                     services: nvm (sealed), rng, Platform
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod atr;
mod blocks;
mod card;
mod configuration;
pub mod container;
mod control;
pub mod crypto;
mod isd;
pub mod nvm;
mod pairing;
pub mod piv;
pub mod platform;
pub mod rng;
mod router;
mod scp;
mod second;
pub mod self_test;
pub mod services;
mod session;
mod uicc;

#[cfg(test)]
mod testing;

pub use atr::ATR;
pub use card::Card;
