//! A guest that has run from its first instruction until it waits for its launch. Every card is a copy of it.
//!
//! Until then the guest has been told nothing but that its control stream is open: no seed, no identity, no key. What copies have in common is what
//! every start of the image would have computed alike.

use std::{
    fs::File,
    os::unix::{fs::FileExt, net::UnixStream},
};

use cardhost_wire::boot::MEMORY_SIZE;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::{
    Card, End,
    link::Link,
    machine::{Machine, MachineError},
    memory::MemoryError,
};
use crate::{
    device::{streams::Streams, transport::Transport},
    image::{self, Image},
};

/// CPU time that a guest may take to its first idle moment, milliseconds.
pub(super) const BUDGET_MS: u32 = 5_000;
pub(crate) const PAGE: usize = 4096;

/// The guest cannot be brought to its idle moment.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The system or KVM refused something.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The host gave no memory, descriptor or timer.
    #[error("no resources for the guest's template")]
    Resources(#[from] std::io::Error),
    /// Guest memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The guest ended.
    #[error("the guest image does not start")]
    Guest(#[source] End),
}

/// What a card starts from, on a machine with registers of this kind.
pub struct Template<R> {
    /// Guest memory, sealed against changes.
    pub memory: File,
    /// See [`Image::large_pages`].
    pub large_pages: Vec<u64>,
    /// The processor, about to return from the write that says that the guest is idle.
    pub registers: R,
    /// The device as the guest has set it up, with an open control stream.
    pub device: (Transport, Streams),
}

impl<R> Template<R> {
    /// Runs the image on a machine that stands before its first instruction.
    ///
    /// # Errors
    /// See [`TemplateError`].
    pub fn prepare(machine: impl Machine<Registers = R>, image: &Image) -> Result<Self, TemplateError> {
        // Nobody is at the other end: a guest that has not been launched has nothing to say.
        let (link, _daemon) = UnixStream::pair()?;
        let fresh = (Transport::default(), Streams::default());
        let mut card = Card::new(machine, fresh, Link::new(link), &image.symbols, BUDGET_MS)?;
        card.run_to_idle_with_control_stream().map_err(TemplateError::Guest)?;
        let Card { machine, transport, streams, .. } = &mut card;
        let registers = machine.registers()?;
        let device = (transport.clone(), streams.clone());
        let memory = copy(machine.memory())?;
        Ok(Self { memory, large_pages: image.large_pages.clone(), registers, device })
    }
}

/// A sealed copy of guest memory without its empty pages.
fn copy(memory: &GuestMemoryMmap) -> std::io::Result<File> {
    let file = image::memory(c"card-template")?;
    let mut page = [0; PAGE];
    for address in (0..MEMORY_SIZE).step_by(PAGE) {
        memory.read_slice(&mut page, GuestAddress(address)).map_err(std::io::Error::other)?;
        if page.iter().any(|byte| *byte != 0) {
            file.write_all_at(&page, address)?;
        }
    }
    image::seal(&file)?;
    Ok(file)
}
