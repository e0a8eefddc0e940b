//! The guest's page tables (Intel SDM volume 3, 4.5): W^X, identity-mapped; pages of 4 KiB, and of 2 MiB for what is
//! not writable and has them for itself.
//!
//! They lie below the stack in guest memory where nothing maps them, so the guest cannot reach them, and with
//! no ring-0 code it cannot load others. What is not listed here is not present: the null page, the tables, the
//! guard page under the stack and everything beyond the memory but the device.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt};

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

/// Guest pages with equal rights; the guest may read all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pages {
    /// Guest addresses, whole pages.
    pub range: Range<u64>,
    /// The guest may write to them.
    pub writable: bool,
    /// The guest may execute them.
    pub executable: bool,
}

impl Pages {
    const fn data(range: Range<u64>) -> Self {
        Self { range, writable: true, executable: false }
    }

    fn of_segment(segment: &ProgramHeader) -> Self {
        let end = (segment.p_vaddr + segment.p_memsz).next_multiple_of(PAGE);
        let has = |flag| segment.p_flags & flag != 0;
        Self { range: segment.p_vaddr..end, writable: has(PF_W), executable: has(PF_X) }
    }

    /// No other pages lie in the spans of these, which begin with the first.
    fn have_whole_spans(&self, all: &[Self]) -> bool {
        let spans = self.range.start..self.range.end.next_multiple_of(TABLE_SPAN);
        let apart = |other: &Self| other.range.end <= spans.start || other.range.start >= spans.end;
        let mut others = all.iter().filter(|other| other.range.start != self.range.start);
        spans.start.is_multiple_of(TABLE_SPAN) && others.all(apart)
    }

    const fn rights(&self) -> u64 {
        let write = if self.writable { WRITE } else { 0 };
        let execute = if self.executable { 0 } else { NO_EXECUTE };
        PRESENT | USER | ACCESSED | DIRTY | write | execute
    }
}

/// All that a guest of these segments has of its memory: stack, segments, heap. Everything else is not there.
pub fn map(segments: &[ProgramHeader]) -> Vec<Pages> {
    let segments: Vec<_> = segments.iter().map(Pages::of_segment).collect();
    let heap = segments.iter().filter(|pages| pages.writable).map(|pages| pages.range.end).max();
    let heap = Pages::data(heap.unwrap_or(DATA_BASE)..HEAP_END);
    [vec![Pages::data(STACK_TOP - STACK_SIZE..STACK_TOP)], segments, vec![heap]].concat()
}

/// Writes the tables for this map. Returns the spans that large pages map.
pub fn write(memory: &File, map: &[Pages]) -> io::Result<Vec<u64>> {
    let tables = Tables { memory };
    tables.directories()?;
    let mut spans = Vec::new();
    for pages in map {
        if pages.writable || !pages.have_whole_spans(map) {
            tables.map(pages.range.clone(), pages.rights())?;
            continue;
        }
        for span in pages.range.clone().step_by(TABLE_SPAN as usize) {
            tables.set(LOW_DIRECTORY, span / TABLE_SPAN, span | pages.rights() | LARGE)?;
            spans.push(span);
        }
    }
    Ok(spans)
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

    fn map(&self, range: Range<u64>, rights: u64) -> io::Result<()> {
        range.step_by(PAGE as usize).try_for_each(|address| {
            let table = LOW_TABLES + address / TABLE_SPAN * PAGE;
            self.set(table, address / PAGE, address | rights)
        })
    }

    fn set(&self, table: u64, index: u64, entry: u64) -> io::Result<()> {
        self.memory.write_all_at(&entry.to_le_bytes(), table + index % ENTRIES * 8)
    }
}
