//! The system from end to end: daemon, launcher, cards, authority; through the public surface only.

mod adoption;
mod authority_failure;
mod bad_input;
mod channel;
mod durability;
mod every_write;
mod foreign_authority;
mod host_key;
mod life_cycle;
mod memory;
mod pairing;
mod park;
mod process_isolation;
mod random_kills;
mod rollback;
mod routing;
mod secure_messaging;
mod store_failure;
mod tpm;
mod users;
