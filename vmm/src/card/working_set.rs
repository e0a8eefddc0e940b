//! The pages that a card writes on its way from the template to its first answer.
//!
//! They are measured once, by a rehearsal with made-up secrets, and copied ahead in one go for every card. A page
//! that is copied when the guest writes to it costs two faults, and KVM maps neighbours of a page only if they are
//! there already.

use std::{
    io::{Read, Write},
    net::Shutdown,
    ops::Range,
    os::unix::{fs::FileExt, net::UnixStream},
    ptr::NonNull,
};

use cardhost_wire::{
    boot::MEMORY_SIZE,
    control::{self, HostMessage, Launch},
    frame::framed,
    link::{self, Kind},
    port::{Port, Protocol},
};
use kvm_ioctls::Kvm;
use nix::sys::mman::{MmapAdvise, madvise};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use super::{
    Card, End,
    link::Link,
    machine::{
        Machine,
        kvm::{Blueprint, Registers, VirtualMachine},
    },
    memory::View,
    template::{BUDGET_MS, PAGE, Template, TemplateError},
};
use crate::image::Symbols;

/// Bytes of eight pages: the neighbourhood that KVM's shadow paging maps at once (`PTE_PREFETCH_NUM`).
const GROUP: usize = 8 * PAGE;
const GATE: Port = Port::Apdu(Protocol::ApduGate);

/// Guest addresses, page by page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkingSet(Vec<Range<u64>>);

impl WorkingSet {
    /// Starts a copy of the template with made-up secrets, has it answer an APDU and looks at what it wrote.
    ///
    /// # Errors
    /// See [`TemplateError`].
    pub fn rehearse(
        kvm: &Kvm,
        blueprint: &Blueprint,
        template: &Template<Registers>,
    ) -> Result<Self, TemplateError> {
        let view = View::of(&template.memory, &template.large_pages)?;
        let machine = VirtualMachine::new(kvm, blueprint, view.memory(), &template.registers)?;
        let (ours, theirs) = UnixStream::pair()?;
        let symbols = Symbols::default();
        let mut card = Card::new(machine, template.device.clone(), Link::new(theirs), &symbols, BUDGET_MS)?;
        send_script(&ours)?;
        match card.run() {
            End::SwitchedOff if answered(&ours)? => Ok(Self(written(card.machine.memory(), template)?)),
            end => Err(TemplateError::Guest(end)),
        }
    }

    /// Copies the pages into this machine's memory. Without it the card runs all the same.
    pub fn populate(&self, memory: &GuestMemoryMmap) {
        for pages in &self.0 {
            // An older kernel does not know the advice (Linux 5.14).
            let _ = populate(memory, pages);
        }
    }
}

/// A launch whose secrets are none.
fn made_up_launch() -> HostMessage {
    HostMessage::Launch(Launch {
        version: control::VERSION,
        seed: [0x5A; 32],
        card: [0x5A; 16],
        owner: [0x5A; 32],
        image_policy: [0x5A; 32],
        card_key: [0x5A; 32],
        default_keys: false,
    })
}

/// What launcher and daemon send to a new card, with four bytes for an APDU, and then the end.
fn send_script(mut daemon: &UnixStream) -> std::io::Result<()> {
    let message = |port: Port, message: &[u8]| link::frame(Kind::Data, port.number(), &framed(message));
    let script = [
        message(Port::Control, &made_up_launch().encode()),
        link::frame(Kind::Open, Port::Control.number(), &[]),
        message(Port::Control, &HostMessage::Start(None).encode()),
        link::frame(Kind::Open, GATE.number(), &[]),
        message(GATE, &[0; 4]),
    ];
    daemon.write_all(&script.concat())?;
    daemon.shutdown(Shutdown::Write)
}

/// The card has said more than that its streams are open.
fn answered(mut daemon: &UnixStream) -> std::io::Result<bool> {
    daemon.set_nonblocking(true)?;
    let mut said = [0; 2 * link::HEADER + 1];
    Ok(daemon.read(&mut said)? == said.len())
}

/// The pages that differ from the template's, in each group together with those before them: KVM maps a page with
/// its neighbours from the group's first on, as far as they are there.
fn written(memory: &GuestMemoryMmap, template: &Template<Registers>) -> std::io::Result<Vec<Range<u64>>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for group in (0..MEMORY_SIZE).step_by(GROUP) {
        let Some(end) = last_written(memory, template, group)? else { continue };
        match ranges.last_mut() {
            Some(before) if before.end == group => before.end = end,
            _ => ranges.push(group..end),
        }
    }
    Ok(ranges)
}

/// The end of the last page of a group that differs from the template's.
fn last_written(
    memory: &GuestMemoryMmap,
    template: &Template<Registers>,
    group: u64,
) -> std::io::Result<Option<u64>> {
    let (mut now, mut before) = ([0; PAGE], [0; PAGE]);
    for address in (0..GROUP).step_by(PAGE).rev().map(|offset| group + offset as u64) {
        memory.read_slice(&mut now, GuestAddress(address)).map_err(std::io::Error::other)?;
        template.memory.read_exact_at(&mut before, address)?;
        if now != before {
            return Ok(Some(address + PAGE as u64));
        }
    }
    Ok(None)
}

#[expect(unsafe_code, reason = "madvise takes an address")]
fn populate(memory: &GuestMemoryMmap, pages: &Range<u64>) -> nix::Result<()> {
    let start = memory.get_host_address(GuestAddress(pages.start)).expect("within guest memory");
    let length = (pages.end - pages.start) as usize;
    let start = NonNull::new(start.cast()).expect("a mapping is not at 0");
    // SAFETY: the range lies in a live private mapping; the advice makes its pages present and changes no byte.
    unsafe { madvise(start, length, MmapAdvise::MADV_POPULATE_WRITE) }
}
