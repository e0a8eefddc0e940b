//! The microVM: a launcher that forks one process per card, and that process.
//!
//! ```text
//! launcher ── image (ELF → template memory) · host_key · card_key (wrapped) ── fork ──▶ card
//!                                                                                      │
//!   card: sandbox, seccomp ─▶ run loop: one match over VM exits                        ▼
//!         machine (KVM) ◀──▶ device (virtio-mmio, vsock streams) ◀──▶ link ◀──▶ daemon
//! ```
//!
//! It knows no APDU. What it must agree on with others stands in `cardhost-wire`.
#![warn(missing_docs)]
#![deny(unsafe_code)]

pub mod card;
pub mod device;
pub mod image;
pub mod launcher;
pub mod tpm;
