//! The PIV application through the card's only entry, `Card::transmit`, over a host that stores in memory.

mod durability;
mod golden;
mod harness;
mod host;
mod keys;
mod management;
mod objects;
mod random;
mod reference_data;
mod yubico;
