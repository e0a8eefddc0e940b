//! The card OS below its applications, through the card's only entry, `Card::transmit`.

mod chaining;
mod channels;
mod control;
mod frozen;
mod frozen_form;
#[path = "../piv/harness.rs"]
mod harness;
mod life;
#[path = "../isd/off_card.rs"]
mod off_card;
mod routing;
mod select;
mod sequences;
mod session_state;
