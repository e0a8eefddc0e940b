//! The card OS: a `no_std` library, whole and testable on the host.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod application;
pub mod crypto;
pub mod nvm;
pub mod piv;
pub mod platform;
pub mod rng;
pub mod services;

#[cfg(test)]
mod testing;
