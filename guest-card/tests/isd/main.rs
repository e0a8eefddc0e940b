//! Security domains and their secure channels through the card's only entry, `Card::transmit`.

mod certificate;
mod channel;
mod content;
mod data;
mod durability;
mod frozen;
#[path = "../card/frozen_form.rs"]
mod frozen_form;
#[path = "../piv/harness.rs"]
mod harness;
mod keys;
mod off_card;
mod protection;
mod random;
mod scp11;
mod second;
