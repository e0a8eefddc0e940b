//! The system from end to end: daemon, launcher, cards in microVMs, authority; through the public surface only.

mod authority_failure;
mod bad_input;
mod channel;
mod durability;
mod every_write;
mod foreign_authority;
mod life_cycle;
mod rollback;
mod users;
