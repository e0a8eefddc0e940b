//! The system from end to end: daemon, launcher, cards, authority; through the public surface only.

mod adoption;
mod authority_failure;
mod bad_input;
mod channel;
mod durability;
mod every_write;
mod foreign_authority;
mod host_key;
mod isolation;
mod life_cycle;
mod memory;
mod pairing;
mod pairing_renewal;
mod pairing_revoked;
mod park;
mod process_isolation;
mod random_kills;
mod rollback;
mod routing;
mod scene;
mod secure_messaging;
mod store_failure;
mod tpm;
mod users;
