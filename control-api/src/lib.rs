//! The host daemon of cardhost and its operator commands.
//!
//! ```text
//! server (TLS) ─▶ http (operations) ─▶ lifecycle ─▶ authority
//!                  │                     │
//!                  └─ channel ─▶ card ◀──┘ ─▶ launcher
//!                       wrapping ─┴─▶ store ◀─ audit
//!                                 └─▶ anchor (what the store cannot know of itself)
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod anchor;
pub mod audit;
pub mod auth;
pub mod authority;
pub mod card;
pub mod cli;
pub mod data_dir;
pub mod host;
pub mod http;
pub mod launcher;
pub mod lifecycle;
pub mod pki;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod wrapping;

pub use host::App;
