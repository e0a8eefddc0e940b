//! What the card needs of a machine: entry point, memory, and the streams of one vsock device.
//!
//! The guest is started in 64-bit CPL3 and never leaves it ([`cardhost_wire::boot`]): it has no ring-0 code, no
//! interrupts, no threads and no page tables of its own. It runs, or it waits in a write to the device. Everything
//! that the host says is checked: a length is bounded before it is used, and what breaks the protocol ends a
//! stream, not the card.
//!
//! | module | holds |
//! |---|---|
//! | [`entry`] | first instruction, ring check, set-up |
//! | [`memory`] | `memcpy` and its kin |
//! | [`heap`] | allocator that erases what is freed |
//! | [`fault`] | panic: last words on the control stream, then the end |
//! | [`single`] | statics of a program that has one thread |
//! | [`registers`] | the device's registers |
//! | [`queue`] | packets through the two virtqueues |
//! | [`packet`] | the vsock packet header |
//! | [`connection`] | one stream: credit, messages |
//! | [`streams`] | all streams of the device |
//! | [`entropy`] | the processor's random numbers |
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod connection;
pub mod entropy;
#[cfg(not(test))]
pub mod entry;
#[cfg(not(test))]
pub mod fault;
#[cfg(not(test))]
pub mod heap;
#[cfg(not(test))]
pub mod memory;
pub mod packet;
#[cfg(not(test))]
pub mod queue;
#[cfg(not(test))]
pub mod registers;
pub mod single;
#[cfg(not(test))]
pub mod streams;
