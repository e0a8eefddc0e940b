//! The reference authority: a small certification authority and verifier behind standard protocols.
//!
//! ```text
//! hosts ──mutual TLS──▶ http ─┬─ est            EST (RFC 7030): issue, renew
//!                             ├─ verification   challenges, verifications, revocations
//! anybody ────TLS───────▶     └─ status         CA certificate, CRL (RFC 5280), OCSP (RFC 6960)
//!                                  │
//!                    Authority: ca (signs) · challenges (memory) · store (SQLite)
//! ```
//!
//! Four certification authorities are kept apart: the *issuing* one signs certificates of users' keys in cards; the two of
//! *pairing*, behind the EST labels `pairing-cards` and `pairing-terminals`, those of the keys with which cards and terminals
//! pair; the *service* one signs this server's TLS certificate and the credentials of hosts. A card's certificate is thus
//! never a host's credential, a user's key in a card pairs with nothing, and no card pairs as a terminal.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod authority;
mod ca;
mod challenges;
mod http;
mod ocsp;
mod request;
mod server;
mod service;
mod store;
mod verify;

pub use authority::{Authority, IssueError, OpenError, RevokeError};
pub use ca::CaError;
pub use server::serve;
pub use service::{Credential, TlsError};
pub use store::StoreError;
