//! The REST interface, asked over the network of a real daemon with a real store.
#![forbid(unsafe_code)]

mod access;
mod audit;
mod bad_input;
mod channel;
mod containers;
mod daemon;
mod devices;
mod idempotency;
#[path = "../isolation/mod.rs"]
mod isolation;
mod profiles;
mod quotas;
mod sessions;
mod support;
mod users;
