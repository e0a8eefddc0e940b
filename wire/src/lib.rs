//! What two cardhost processes must agree on, and nothing else.
//!
//! An APDU crosses four processes (terminal, daemon, microVM process, guest). Every byte layout that two of
//! them share is defined here once, so that neither side can drift:
//!
//! | module | between | layout |
//! |---|---|---|
//! | [`apdu`], [`status`], [`tlv`], [`aid`] | application ↔ guest | ISO/IEC 7816-4 |
//! | [`boot`] | microVM process ↔ guest | start, memory map, notifications |
//! | [`port`] | microVM process ↔ guest | vsock context ids and ports |
//! | [`profiles`] | daemon ↔ guest | eUICC profiles |
//! | [`frame`] | daemon ↔ guest | length-prefixed messages on a vsock stream |
//! | [`control`] | daemon, launcher ↔ guest | the host's control stream |
//! | [`link`] | daemon ↔ microVM process | multiplexed vsock streams on one Unix socket |
//! | [`launch`] | daemon ↔ launcher | starting and ending microVMs |
//! | [`layers`] | daemon ↔ launcher | what keeps cards apart on this host |
//! | [`wrapping`] | daemon ↔ launcher | the keys that wrap card keys |
//! | [`custody`] | daemon ↔ launcher | where those keys are kept |
//! | [`image_policy`] | daemon ↔ launcher | the guest images that may have a card's key |
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

pub mod aid;
pub mod apdu;
pub mod boot;
pub mod control;
pub mod custody;
pub mod frame;
pub mod image_policy;
pub mod key;
pub mod launch;
pub mod layers;
pub mod link;
pub mod pairing;
pub mod port;
pub mod profiles;
pub mod protocols;
pub mod status;
pub mod tlv;
pub mod wrapping;

mod codec;
pub use codec::DecodeError;
