//! Sessions of management clients, as their sources send them, through the card's only entry, `Card::transmit`.

mod global_platform_pro;
mod gpshell;
#[path = "../piv/harness.rs"]
mod harness;
#[path = "../euicc/local_assistant.rs"]
mod local_assistant;
mod lpac;
#[path = "../isd/off_card.rs"]
mod off_card;
mod pysim;
mod secure;
