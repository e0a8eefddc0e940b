//! The guest image and the microVM program, built from this repository, with their measurements.
//!
//! The daemon carries both, so that an operator installs one file and the guest that a card's state is bound to is
//! the guest that was built with the daemon.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

/// The guest: a static ELF image of the card, symbols kept so that the host can name where a guest died.
pub const GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest"));
/// SHA-256 of [`GUEST`]: the measurement that card keys are bound to.
pub const GUEST_SHA256: [u8; 32] = *include_bytes!(concat!(env!("OUT_DIR"), "/guest.sha256"));
/// The microVM program `cardhost-vmm`: an ELF executable.
pub const VMM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vmm"));
/// SHA-256 of [`VMM`].
pub const VMM_SHA256: [u8; 32] = *include_bytes!(concat!(env!("OUT_DIR"), "/vmm.sha256"));

/// A guest that turns on its host when told to, for tests (`guest-card/boot/src/bin/hostile`).
#[cfg(feature = "hostile")]
pub mod hostile {
    /// The image.
    pub const GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hostile"));
    /// SHA-256 of [`GUEST`].
    pub const GUEST_SHA256: [u8; 32] = *include_bytes!(concat!(env!("OUT_DIR"), "/hostile.sha256"));
}
