//! Guest memory that two processes have: the writable part in a memfd of this card, the rest in the template that all
//! cards share.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd, RawFd},
        unix::fs::FileExt,
    },
    sync::Arc,
};

use cardhost_wire::boot::{HEAP_END, MEMORY_SIZE};
use nix::sys::mman::{MapFlags, ProtFlags};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap, mmap::MmapRegionBuilder};

use crate::{
    card::template::PAGE,
    image::{self, Pages},
};

/// What guest memory begins as, sealed, and what the guest may do to it.
pub struct Source<'a> {
    /// Guest memory from address 0.
    pub contents: Arc<File>,
    /// The guest's rights.
    pub map: &'a [Pages],
}

/// The tender's mapping of guest memory.
pub struct Memory {
    guest: GuestMemoryMmap,
    writable: Arc<File>,
    template: Arc<File>,
}

impl Memory {
    /// A copy of what the guest can write to, beside what it cannot.
    pub fn copy(source: &Source<'_>) -> io::Result<Self> {
        let writable = Arc::new(image::memory(c"card-memory")?);
        for pages in source.map.iter().filter(|pages| pages.writable) {
            copy_pages(&source.contents, &writable, pages)?;
        }
        let template = source.contents.clone();
        let regions = vec![
            region(&writable, 0..HEAP_END, MapFlags::MAP_SHARED)?,
            // The template cannot be written to: a device that a guest misleads changes a copy that nobody reads.
            region(&template, HEAP_END..MEMORY_SIZE, MapFlags::MAP_PRIVATE)?,
        ];
        let guest = GuestMemoryMmap::from_regions(regions).expect("two regions, one behind the other");
        Ok(Self { guest, writable, template })
    }

    /// For the device.
    pub const fn guest(&self) -> &GuestMemoryMmap {
        &self.guest
    }

    /// The part of this card, at its guest addresses.
    pub fn file(&self) -> Arc<File> {
        self.writable.clone()
    }

    /// Descriptor and flags by which the guest process maps these pages.
    pub fn mapping(&self, pages: &Pages) -> (RawFd, MapFlags) {
        if pages.writable {
            (self.writable.as_raw_fd(), MapFlags::MAP_SHARED)
        } else {
            (self.template.as_raw_fd(), MapFlags::MAP_PRIVATE)
        }
    }
}

/// Without the empty ones, so that these take no memory.
fn copy_pages(from: &File, to: &File, pages: &Pages) -> io::Result<()> {
    let range = &pages.range;
    let mut bytes = vec![0; (range.end - range.start) as usize];
    from.read_exact_at(&mut bytes, range.start)?;
    for (page, address) in bytes.chunks(PAGE).zip(range.clone().step_by(PAGE)) {
        if page.iter().any(|byte| *byte != 0) {
            to.write_all_at(page, address)?;
        }
    }
    Ok(())
}

fn region(file: &Arc<File>, range: std::ops::Range<u64>, flags: MapFlags) -> io::Result<GuestRegionMmap> {
    let rights = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let region = MmapRegionBuilder::new((range.end - range.start) as usize)
        .with_file_offset(FileOffset::from_arc(file.clone(), range.start))
        .with_mmap_prot(rights.bits())
        .with_mmap_flags((flags | MapFlags::MAP_NORESERVE).bits())
        .build()
        .map_err(io::Error::other)?;
    Ok(GuestRegionMmap::new(region, GuestAddress(range.start)).expect("guest memory does not overflow"))
}
