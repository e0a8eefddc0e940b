//! What a card may take of its host.

use super::mounts::{Controller, Version};

/// A file of a group and what is written to it.
pub struct Limit {
    controller: Controller,
    /// Its name.
    pub file: &'static str,
    /// What bounds a card.
    pub value: &'static str,
    /// Some kernels are built without it.
    pub only_where_there: bool,
}

/// More than twice a guest's memory, of which a card takes a fraction: the rest is its process's and what the kernel keeps.
const MEMORY: &str = "16777216";
/// The card's process, its guest's or KVM's thread, and as many again for kernels that have more.
const PROCESSES: &str = "4";
/// CPU time in each [`PERIOD`], microseconds: half of one processor. Only a guest that computes without end takes more.
const QUOTA: &str = "50000";
const PERIOD: &str = "100000";
/// [`QUOTA`] and [`PERIOD`].
const QUOTA_AND_PERIOD: &str = "50000 100000";

/// In the order in which they are to be written.
const VERSION_1: [Limit; 6] = [
    must(Controller::Memory, "memory.limit_in_bytes", MEMORY),
    may(Controller::Memory, "memory.memsw.limit_in_bytes", MEMORY),
    may(Controller::Memory, "memory.swappiness", "0"),
    must(Controller::Cpu, "cpu.cfs_period_us", PERIOD),
    must(Controller::Cpu, "cpu.cfs_quota_us", QUOTA),
    must(Controller::Pids, "pids.max", PROCESSES),
];

const VERSION_2: [Limit; 4] = [
    must(Controller::Memory, "memory.max", MEMORY),
    may(Controller::Memory, "memory.swap.max", "0"),
    must(Controller::Cpu, "cpu.max", QUOTA_AND_PERIOD),
    must(Controller::Pids, "pids.max", PROCESSES),
];

const fn must(controller: Controller, file: &'static str, value: &'static str) -> Limit {
    Limit { controller, file, value, only_where_there: false }
}

const fn may(controller: Controller, file: &'static str, value: &'static str) -> Limit {
    Limit { controller, file, value, only_where_there: true }
}

/// The limits that these controllers set.
pub fn of(version: Version, controllers: &[Controller]) -> impl Iterator<Item = &'static Limit> {
    let all: &[Limit] = match version {
        Version::One => &VERSION_1,
        Version::Two => &VERSION_2,
    };
    all.iter().filter(|limit| controllers.contains(&limit.controller))
}

/// One line for people.
pub fn describe(controller: Controller) -> &'static str {
    match controller {
        Controller::Memory => "memory 16 MiB without swap",
        Controller::Cpu => "half of a processor",
        Controller::Pids => "4 processes",
    }
}

#[cfg(test)]
mod tests {
    use cardhost_wire::boot::MEMORY_SIZE;

    use super::*;

    #[test]
    fn a_guest_fits_in_twice() {
        assert!(MEMORY.parse::<u64>().unwrap() > 2 * MEMORY_SIZE);
        assert_eq!(QUOTA_AND_PERIOD, format!("{QUOTA} {PERIOD}"));
    }

    #[test]
    fn each_controller_sets_its_own_limits() {
        let files = |version, controllers: &[Controller]| {
            of(version, controllers).map(|limit| limit.file).collect::<Vec<_>>()
        };
        assert_eq!(files(Version::One, &[Controller::Pids]), ["pids.max"]);
        assert_eq!(files(Version::Two, &[Controller::Cpu]), ["cpu.max"]);
        assert_eq!(files(Version::Two, &[Controller::Memory]), ["memory.max", "memory.swap.max"]);
        assert_eq!(of(Version::One, &Controller::ALL).count(), VERSION_1.len());
    }
}
