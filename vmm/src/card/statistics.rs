//! What a card's process tells of itself.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

use cardhost_wire::link::Statistics;
use nix::{
    sys::{
        resource::{UsageWho, getrusage},
        time::TimeValLike,
    },
    time::{ClockId, clock_gettime},
    unistd::{Whence, lseek},
};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use super::template::PAGE;

const KIB_PER_PAGE: u64 = 4;
const CHUNK: usize = 4096;

/// Reads the counters of this process. Opened before the sandbox closes.
pub struct Meter {
    memory: Memory,
    /// Of a guest that is a process of its own.
    clock: Option<ClockId>,
}

/// Where the pages of guest memory's writable part are counted; the rest is the same memory for all cards.
enum Memory {
    /// In this process's mapping.
    Mapping {
        /// proc(5) smaps: unlike pagemap open to an ordinary user's process that others may not inspect.
        mappings: File,
        /// How the mapping's line begins.
        line: String,
    },
    /// In a file in memory, whose unused pages are holes.
    File(Arc<File>),
}

impl Meter {
    /// A meter for a guest that has its memory through this process's mapping.
    ///
    /// # Errors
    /// `/proc` is not there.
    pub fn of_mapping(memory: &GuestMemoryMmap) -> io::Result<Self> {
        let base = memory.get_host_address(GuestAddress(0)).expect("guest memory begins at 0") as u64;
        let memory =
            Memory::Mapping { mappings: File::open("/proc/self/smaps")?, line: format!("{base:x}-") };
        Ok(Self { memory, clock: None })
    }

    /// A meter for a guest process with this CPU clock and its memory in a file.
    pub const fn of_file(memory: Arc<File>, clock: ClockId) -> Self {
        Self { memory: Memory::File(memory), clock: Some(clock) }
    }

    /// The counters now.
    pub fn read(&self, exits: u64) -> Statistics {
        let guest =
            self.clock.and_then(|clock| clock_gettime(clock).ok()).map_or(0, |time| time.num_microseconds());
        Statistics { exits, resident_pages: self.memory.resident_pages(), cpu_us: cpu_us() + guest as u64 }
    }
}

impl Memory {
    /// Pages that are present; 0 if the kernel does not tell.
    fn resident_pages(&self) -> u64 {
        match self {
            Self::Mapping { mappings, line } => resident_kib(mappings, line).unwrap_or(0) / KIB_PER_PAGE,
            Self::File(file) => present_bytes(file) / PAGE as u64,
        }
    }
}

fn resident_kib(mappings: &File, line: &str) -> Option<u64> {
    let mappings = text(mappings).ok()?;
    let mut lines = mappings.lines().skip_while(|other| !other.starts_with(line));
    let size = lines.find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB"))?;
    size.parse().ok()
}

fn text(file: &File) -> io::Result<String> {
    let (mut text, mut chunk) = (Vec::new(), [0; CHUNK]);
    loop {
        match file.read_at(&mut chunk, text.len() as u64)? {
            0 => return Ok(String::from_utf8_lossy(&text).into_owned()),
            count => text.extend_from_slice(&chunk[..count]),
        }
    }
}

/// Bytes of a sparse file that are no holes.
fn present_bytes(file: &File) -> u64 {
    let (mut at, mut present) = (0, 0);
    while let Ok(data) = lseek(file, at, Whence::SeekData) {
        let Ok(hole) = lseek(file, data, Whence::SeekHole) else { break };
        present += hole - data;
        at = hole;
    }
    present as u64
}

fn cpu_us() -> u64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| {
        (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as u64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_of_a_sparse_file_are_counted() {
        let file = crate::image::memory(c"test").unwrap();
        assert_eq!(present_bytes(&file), 0);
        for page in [0, 3, 4, 100] {
            file.write_all_at(&[1], page * PAGE as u64).unwrap();
        }
        assert_eq!(present_bytes(&file), 4 * PAGE as u64);
    }
}
