//! What a card's process tells of itself.

use std::{fs::File, os::unix::fs::FileExt};

use cardhost_wire::{boot::MEMORY_SIZE, link::Statistics};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

const PAGE: u64 = 4096;
const ENTRY: u64 = 8;
const PAGES: usize = (MEMORY_SIZE / PAGE) as usize;

/// Reads the counters of this process. Opened before the sandbox closes.
pub struct Meter {
    pagemap: File,
    offset: u64,
}

impl Meter {
    /// A meter for the process that has mapped this guest memory.
    ///
    /// # Errors
    /// `/proc` is not there.
    pub fn new(memory: &GuestMemoryMmap) -> std::io::Result<Self> {
        let base = memory.get_host_address(GuestAddress(0)).expect("guest memory begins at 0") as u64;
        Ok(Self { pagemap: File::open("/proc/self/pagemap")?, offset: base / PAGE * ENTRY })
    }

    /// The counters now.
    pub fn read(&self, exits: u64) -> Statistics {
        Statistics { exits, resident_pages: self.resident_pages(), cpu_us: cpu_us() }
    }

    /// Pages of guest memory that are present (bit 63 of proc(5) pagemap). Too few if the kernel says less.
    fn resident_pages(&self) -> u64 {
        let mut entries = vec![0; PAGES * ENTRY as usize];
        let read = self.pagemap.read_at(&mut entries, self.offset).unwrap_or(0);
        entries[..read].chunks_exact(ENTRY as usize).filter(|entry| entry[7] & 0x80 != 0).count() as u64
    }
}

fn cpu_us() -> u64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| {
        (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as u64
    })
}
