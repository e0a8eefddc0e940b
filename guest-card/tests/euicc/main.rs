//! The UICC and its eUICC, through the card's only entry, `Card::transmit`.

mod durability;
mod frozen;
mod functions;
#[path = "../piv/harness.rs"]
mod harness;
mod host;
mod information;
mod local_assistant;
mod notifications;
mod random;
mod script;
mod usim;
