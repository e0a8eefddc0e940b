//! The guest's page tables (Intel SDM volume 3, 4.5): W^X, identity-mapped; pages of 4 KiB, and of 2 MiB for what is
//! not writable and has them for itself.
//!
//! They lie below the stack in guest memory where nothing maps them, so the guest cannot reach them, and with
//! no ring-0 code it cannot load others. What is not listed here is not present: the null page, the tables, the
//! guard page under the stack and everything beyond the memory but the device.

use std::{fs::File, io, os::unix::fs::FileExt};

use cardhost_wire::boot::{DATA_BASE, HEAP_END, MEMORY_SIZE, MMIO_BASE, STACK_SIZE, STACK_TOP};
use elf::{
    abi::{PF_W, PF_X},
    segment::ProgramHeader,
};

/// Guest-physical address of the top-level table: the guest's CR3.
pub const ROOT: u64 = 0x1000;
const DIRECTORY_POINTERS: u64 = 0x2000;
const LOW_DIRECTORY: u64 = 0x3000;
const DEVICE_DIRECTORY: u64 = 0x4000;
const DEVICE_TABLE: u64 = 0x5000;
const LOW_TABLES: u64 = 0x6000;

const PAGE: u64 = 4096;
/// Bytes that one table of pages spans, and one large page.
pub const TABLE_SPAN: u64 = 2 << 20;
const ENTRIES: u64 = 512;

const PRESENT: u64 = 1;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const UNCACHED: u64 = 1 << 3 | 1 << 4;
/// Set beforehand, so that the processor never writes to a table and copies its page.
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;

const TABLE: u64 = PRESENT | WRITE | USER | ACCESSED;
const DATA: u64 = PRESENT | WRITE | USER | ACCESSED | DIRTY | NO_EXECUTE;

/// Writes the tables for an image with these segments. Returns the spans that large pages map.
pub fn write(memory: &File, segments: &[ProgramHeader]) -> io::Result<Vec<u64>> {
    let (large, small): (Vec<&ProgramHeader>, Vec<_>) =
        segments.iter().partition(|segment| !is_writable(segment) && has_whole_spans(segment, segments));
    let tables = Tables { memory };
    tables.directories()?;
    tables.map(STACK_TOP - STACK_SIZE..STACK_TOP, DATA)?;
    for segment in &small {
        tables.map(segment.p_vaddr..end(segment), rights(segment))?;
    }
    let heap = small.into_iter().filter(|segment| is_writable(segment)).map(end).max().unwrap_or(DATA_BASE);
    tables.map(heap..HEAP_END, DATA)?;
    let mut spans = Vec::new();
    for segment in large {
        for span in (segment.p_vaddr..end(segment)).step_by(TABLE_SPAN as usize) {
            tables.set(LOW_DIRECTORY, span / TABLE_SPAN, span | rights(segment) | LARGE)?;
            spans.push(span);
        }
    }
    Ok(spans)
}

fn is_writable(segment: &ProgramHeader) -> bool {
    segment.p_flags & PF_W != 0
}

/// No other segment lies in the spans of this one, which begins with the first.
fn has_whole_spans(segment: &ProgramHeader, all: &[ProgramHeader]) -> bool {
    let spans = segment.p_vaddr..end(segment).next_multiple_of(TABLE_SPAN);
    let apart = |other: &ProgramHeader| end(other) <= spans.start || other.p_vaddr >= spans.end;
    let mut others = all.iter().filter(|other| other.p_vaddr != segment.p_vaddr);
    spans.start.is_multiple_of(TABLE_SPAN) && others.all(apart)
}

fn end(segment: &ProgramHeader) -> u64 {
    (segment.p_vaddr + segment.p_memsz).next_multiple_of(PAGE)
}

fn rights(segment: &ProgramHeader) -> u64 {
    let write = if segment.p_flags & PF_W != 0 { WRITE } else { 0 };
    let execute = if segment.p_flags & PF_X != 0 { 0 } else { NO_EXECUTE };
    PRESENT | USER | ACCESSED | DIRTY | write | execute
}

struct Tables<'a> {
    memory: &'a File,
}

impl Tables<'_> {
    fn directories(&self) -> io::Result<()> {
        self.set(ROOT, 0, DIRECTORY_POINTERS | TABLE)?;
        self.set(DIRECTORY_POINTERS, 0, LOW_DIRECTORY | TABLE)?;
        self.set(DIRECTORY_POINTERS, MMIO_BASE >> 30, DEVICE_DIRECTORY | TABLE)?;
        self.set(DEVICE_DIRECTORY, MMIO_BASE >> 21, DEVICE_TABLE | TABLE)?;
        self.set(DEVICE_TABLE, MMIO_BASE >> 12, MMIO_BASE | DATA | UNCACHED)?;
        (0..MEMORY_SIZE / TABLE_SPAN)
            .try_for_each(|n| self.set(LOW_DIRECTORY, n, (LOW_TABLES + n * PAGE) | TABLE))
    }

    fn map(&self, range: std::ops::Range<u64>, rights: u64) -> io::Result<()> {
        range.step_by(PAGE as usize).try_for_each(|address| {
            let table = LOW_TABLES + address / TABLE_SPAN * PAGE;
            self.set(table, address / PAGE, address | rights)
        })
    }

    fn set(&self, table: u64, index: u64, entry: u64) -> io::Result<()> {
        self.memory.write_all_at(&entry.to_le_bytes(), table + index % ENTRIES * 8)
    }
}
