//! Pairing with terminals through the card's only entry, `Card::transmit`.

mod authority;
#[path = "../isd/certificate.rs"]
mod certificate;
mod device;
mod domain;
mod durability;
mod flow;
mod frozen;
#[path = "../piv/harness.rs"]
mod harness;
mod host;
#[path = "../isd/off_card.rs"]
mod off_card;
mod policy;
mod protection;
mod random;
mod revocation;
mod sessions;
mod set_up;
