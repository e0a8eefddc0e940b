//! Guest memory: a copy-on-write view of the template.
//!
//! The launcher makes the view once and every card has it by the fork. What is not writable stands in large pages
//! where the system has them (anonymous, which needs no privilege and no pool): one copy for all cards, and one
//! fault to map it. Nobody can write to it once it is filled, the card's process included.

use std::{
    ffi::c_void,
    fs::File,
    num::NonZeroUsize,
    os::{fd::AsFd, unix::fs::FileExt},
    ptr::NonNull,
};

use cardhost_wire::boot::MEMORY_SIZE;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, mprotect, munmap};
use vm_memory::{GuestAddress, GuestMemoryMmap, GuestRegionMmap, mmap::MmapRegionBuilder};

use crate::image::LARGE_PAGE;

const SIZE: usize = MEMORY_SIZE as usize;
const LARGE: usize = LARGE_PAGE as usize;

/// Guest memory cannot be mapped.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The system refuses a mapping.
    #[error("guest memory cannot be mapped")]
    Mapping(#[from] nix::Error),
    /// The template cannot be read.
    #[error("the guest's template cannot be read")]
    Template(#[from] std::io::Error),
    /// The mapping is not one that a guest can have.
    #[error("guest memory cannot be described")]
    Region(#[from] vm_memory::mmap::MmapRegionError),
}

/// A view of a template. Unmapped on drop: a machine over it must be dropped before.
pub struct View {
    memory: GuestMemoryMmap,
    _addresses: Reservation,
}

impl View {
    /// Maps a template copy-on-write, with large pages at `spans`.
    ///
    /// # Errors
    /// See [`MemoryError`].
    #[expect(unsafe_code, reason = "mappings at fixed addresses")]
    pub fn of(template: &File, spans: &[u64]) -> Result<Self, MemoryError> {
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        let (writable, fixed) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags | MapFlags::MAP_FIXED);
        let addresses = Reservation::make()?;
        let start = addresses.aligned();
        // SAFETY: the range is part of the reservation, which nothing else uses.
        unsafe { mmap(address(start), length(SIZE), writable, fixed, template.as_fd(), 0) }?;
        for span in spans {
            // SAFETY: a span of the image lies within guest memory, and so within the mapping.
            let page = unsafe { start.byte_add(*span as usize) };
            fill_large_page(page, template, *span)?;
        }
        // SAFETY: the mapping has this length and lives as long as the reservation beside it. Rust references into
        // it are never made: all access goes through vm-memory's volatile operations.
        let builder = unsafe { MmapRegionBuilder::new(SIZE).with_raw_mmap_pointer(start.as_ptr().cast()) };
        let region = builder.with_mmap_prot(writable.bits()).with_mmap_flags(flags.bits()).build()?;
        let region = GuestRegionMmap::new(region, GuestAddress(0)).expect("6 MiB from 0 do not overflow");
        let memory = GuestMemoryMmap::from_regions(vec![region]).expect("one region cannot overlap");
        Ok(Self { memory, _addresses: addresses })
    }

    /// The memory, for a machine.
    pub fn memory(&self) -> GuestMemoryMmap {
        self.memory.clone()
    }
}

/// Address space for guest memory and for the way to where a large page can begin.
struct Reservation(NonNull<c_void>);

impl Reservation {
    const LENGTH: usize = SIZE + LARGE;

    #[expect(unsafe_code, reason = "a mapping")]
    fn make() -> nix::Result<Self> {
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: a new mapping anywhere.
        unsafe { mmap_anonymous(None, length(Self::LENGTH), ProtFlags::PROT_NONE, flags) }.map(Self)
    }

    #[expect(unsafe_code, reason = "pointer arithmetic")]
    fn aligned(&self) -> NonNull<c_void> {
        let start = self.0.as_ptr().addr();
        // SAFETY: less than a large page further on, of which the reservation has one more than is used.
        unsafe { self.0.byte_add(start.next_multiple_of(LARGE) - start) }
    }
}

impl Drop for Reservation {
    #[expect(unsafe_code, reason = "unmaps what was mapped")]
    fn drop(&mut self) {
        // SAFETY: the whole of what `make` mapped and what was mapped over it since; its only users, the memory
        // beside it and machines over it, are gone. It can only fail for a wrong address.
        let _ = unsafe { munmap(self.0, Self::LENGTH) };
    }
}

#[expect(unsafe_code, reason = "fills a mapping")]
fn fill_large_page(page: NonNull<c_void>, template: &File, span: u64) -> Result<(), MemoryError> {
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED;
    let writable = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: replaces a part of the caller's mapping, into which there are no references.
    unsafe { mmap_anonymous(address(page), length(LARGE), writable, flags) }?;
    // SAFETY: the range was mapped above. Without large pages in the kernel it consists of small ones.
    let _ = unsafe { madvise(page, LARGE, MmapAdvise::MADV_HUGEPAGE) };
    // SAFETY: mapped, writable, zero-filled and referred to by nobody else.
    let bytes = unsafe { std::slice::from_raw_parts_mut(page.as_ptr().cast::<u8>(), LARGE) };
    template.read_exact_at(bytes, span)?;
    // SAFETY: the slice above is gone.
    Ok(unsafe { mprotect(page, LARGE, ProtFlags::PROT_READ) }?)
}

fn address(pointer: NonNull<c_void>) -> Option<NonZeroUsize> {
    Some(pointer.addr())
}

fn length(bytes: usize) -> NonZeroUsize {
    NonZeroUsize::new(bytes).expect("not empty")
}
