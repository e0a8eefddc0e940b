//! Cards in real microVMs, with these tests in the daemon's place.

mod card;
mod clones;
mod control_groups;
mod exchange;
mod guest;
mod hostile;
mod images;
mod keys;
mod launcher;
mod layers;
mod life;
mod pool;
mod process;
mod secrets;
#[path = "../../../tests/src/swtpm.rs"]
mod swtpm;
mod tpm;
