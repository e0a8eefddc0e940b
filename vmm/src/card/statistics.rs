//! What a card's process tells of itself.

use std::{fs::File, os::unix::fs::FileExt};

use cardhost_wire::link::Statistics;
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

const KIB_PER_PAGE: u64 = 4;
const CHUNK: usize = 4096;

/// Reads the counters of this process. Opened before the sandbox closes.
pub struct Meter {
    /// proc(5) smaps: unlike pagemap open to an ordinary user's process that others may not inspect.
    mappings: File,
    /// How the line of guest memory's writable part begins; the rest is the same memory for all cards.
    memory: String,
}

impl Meter {
    /// A meter for a guest that has its memory through this process's mapping.
    ///
    /// # Errors
    /// `/proc` is not there.
    pub fn of_mapping(memory: &GuestMemoryMmap) -> std::io::Result<Self> {
        let base = memory.get_host_address(GuestAddress(0)).expect("guest memory begins at 0") as u64;
        Ok(Self { mappings: File::open("/proc/self/smaps")?, memory: format!("{base:x}-") })
    }

    /// The counters now.
    pub fn read(&self, exits: u64) -> Statistics {
        Statistics { exits, resident_pages: self.resident_pages(), cpu_us: cpu_us() }
    }

    /// Pages of guest memory's writable part that are present; 0 if the kernel does not tell.
    fn resident_pages(&self) -> u64 {
        let mappings = self.text().unwrap_or_default();
        let mut lines = mappings.lines().skip_while(|line| !line.starts_with(&self.memory));
        let size = lines.find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB"));
        size.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / KIB_PER_PAGE
    }

    fn text(&self) -> std::io::Result<String> {
        let (mut text, mut chunk) = (Vec::new(), [0; CHUNK]);
        loop {
            match self.mappings.read_at(&mut chunk, text.len() as u64)? {
                0 => return Ok(String::from_utf8_lossy(&text).into_owned()),
                count => text.extend_from_slice(&chunk[..count]),
            }
        }
    }
}

fn cpu_us() -> u64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| {
        (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as u64
    })
}
