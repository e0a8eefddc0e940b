//! The guest image: an ELF file becomes guest memory with its page tables, once.

mod page_tables;
mod symbols;

use std::{ffi::CStr, fs::File, io, os::unix::fs::FileExt};

use cardhost_wire::boot::{DATA_BASE, HEAP_END, MEMORY_SIZE};
use elf::{ElfBytes, abi::PT_LOAD, endian::LittleEndian, segment::ProgramHeader};
use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::memfd::{MFdFlags, memfd_create},
};
use sha2::{Digest, Sha256};

pub use page_tables::{Pages, ROOT, TABLE_SPAN as LARGE_PAGE};
pub use symbols::Symbols;

/// The image cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It is not an ELF file that this machine can load.
    #[error("the guest image is not a loadable ELF file")]
    Elf(#[from] elf::ParseError),
    /// A segment does not fit the guest's memory map.
    #[error("the guest image's segment at {address:#x} does not fit the memory map")]
    Segment {
        /// Where the segment wants to be.
        address: u64,
    },
    /// A segment is writable and executable.
    #[error("the guest image's segment at {address:#x} is writable and executable")]
    WritableText {
        /// Where the segment wants to be.
        address: u64,
    },
    /// The image is another one than announced.
    #[error("the guest image's SHA-256 is not the announced one")]
    Measurement,
    /// The host gave no memory for the image.
    #[error("no memory for the guest image")]
    Memory(#[from] io::Error),
}

/// A loaded image.
pub struct Image {
    /// Guest memory as it is before the first instruction; sealed against changes.
    pub memory: File,
    /// What the guest may do to which of its pages.
    pub map: Vec<Pages>,
    /// Spans of 2 MiB that the guest has by large pages; none is writable.
    pub large_pages: Vec<u64>,
    /// Address of the first instruction.
    pub entry: u64,
    /// For naming the place of a crash.
    pub symbols: Symbols,
    /// SHA-256 of the ELF file.
    pub measurement: [u8; 32],
}

impl Image {
    /// Loads an ELF file whose SHA-256 must be `measurement`.
    ///
    /// # Errors
    /// See [`ImageError`]; all are the fault of whoever made or sent the image, but for [`ImageError::Memory`].
    pub fn load(file: &[u8], measurement: [u8; 32]) -> Result<Self, ImageError> {
        if <[u8; 32]>::from(Sha256::digest(file)) != measurement {
            return Err(ImageError::Measurement);
        }
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file)?;
        let segments = segments(&elf)?;
        let memory = memory(c"card-image")?;
        for segment in &segments {
            memory.write_all_at(elf.segment_data(segment)?, segment.p_vaddr)?;
        }
        let map = page_tables::map(&segments);
        let large_pages = page_tables::write(&memory, &map)?;
        seal(&memory)?;
        let symbols = Symbols::read(&elf);
        Ok(Self { memory, map, large_pages, entry: elf.ehdr.e_entry, symbols, measurement })
    }
}

/// The loadable segments, each within the memory map and either writable or executable.
fn segments(elf: &ElfBytes<'_, LittleEndian>) -> Result<Vec<ProgramHeader>, ImageError> {
    let table = elf.segments().into_iter().flatten();
    let segments: Vec<_> = table.filter(|segment| segment.p_type == PT_LOAD && segment.p_memsz > 0).collect();
    segments.iter().try_for_each(check)?;
    Ok(segments)
}

fn check(segment: &ProgramHeader) -> Result<(), ImageError> {
    let address = segment.p_vaddr;
    let end = address.checked_add(segment.p_memsz);
    let room =
        if segment.p_flags & elf::abi::PF_W != 0 { DATA_BASE..HEAP_END } else { HEAP_END..MEMORY_SIZE };
    let fits = address >= room.start && end.is_some_and(|end| end <= room.end);
    if !fits || segment.p_filesz > segment.p_memsz || !address.is_multiple_of(4096) {
        return Err(ImageError::Segment { address });
    }
    if segment.p_flags & (elf::abi::PF_W | elf::abi::PF_X) == elf::abi::PF_W | elf::abi::PF_X {
        return Err(ImageError::WritableText { address });
    }
    Ok(())
}

/// Empty guest memory that can be filled and then sealed.
pub(crate) fn memory(name: &CStr) -> io::Result<File> {
    let memory = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?);
    memory.set_len(MEMORY_SIZE)?;
    Ok(memory)
}

/// Forbids every further change.
pub(crate) fn seal(memory: &File) -> io::Result<()> {
    let seals =
        SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(memory, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(())
}
