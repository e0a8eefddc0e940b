//! A control group for each card (cgroups(7)), where an operator has named a parent for them: it bounds what a card takes
//! of the host's memory, processors and processes.
//!
//! ```text
//! parent: made, locked, swept ─▶ ┌─ start: group with limits ─▶ fork: born in it (version 2), or joins it first (version 1)
//!  of an earlier launcher ───────┤
//!                                └─ end: group removed; while a process in it is still ending, later
//! ```
//!
//! Each controller is used where it is, so that hierarchies of both versions may share the work. A group costs memory and
//! time (`SPECIFICATION.md`), for which reason nobody has them unasked.

mod birth;
mod hierarchy;
mod limits;
mod mounts;

use std::{io, os::fd::OwnedFd, path::Path};

use nix::{errno::Errno, unistd::Pid};

pub use birth::fork;
pub use hierarchy::GroupError;
use hierarchy::Hierarchy;
use mounts::{Controller, Mount, Version};

/// How the names of cards' groups begin: all of them below the parent are the launcher's.
const PREFIX: &str = "card-";

/// Cards can have no groups at all.
#[derive(Debug, thiserror::Error)]
pub enum ControlGroupsError {
    /// Nothing to bound cards with.
    #[error(
        "control groups: none with memory, cpu or pids is mounted (mount -t cgroup2 none /sys/fs/cgroup)"
    )]
    NotMounted,
    /// What is there cannot be used.
    #[error(transparent)]
    Unusable(#[from] GroupError),
    /// What is mounted cannot be seen.
    #[error("control groups: what is mounted cannot be seen")]
    Mounts(#[source] io::Error),
}

/// The parents of the cards' groups.
pub struct ControlGroups {
    hierarchies: Vec<Hierarchy>,
    /// Why a hierarchy is not used.
    unusable: Vec<GroupError>,
    /// Tells this launcher's groups from those of earlier ones.
    launcher: Pid,
    /// Groups in which a process is still ending.
    ending: Vec<String>,
}

/// A card's group, in every hierarchy.
pub struct Group {
    name: String,
    /// Where a process of the card is born in it.
    birthplace: Option<OwnedFd>,
}

impl ControlGroups {
    /// Takes `parent` in each hierarchy that has something to bound cards with, and removes what an earlier launcher left.
    ///
    /// # Errors
    /// See [`ControlGroupsError`]. A part that is not there is no error, but is told.
    pub fn open(parent: &Path) -> Result<Self, ControlGroupsError> {
        let mut wanted = Controller::ALL.to_vec();
        let (mut hierarchies, mut unusable) = (Vec::new(), Vec::new());
        for mount in Mount::all().map_err(ControlGroupsError::Mounts)? {
            match Hierarchy::open(&mount, parent, &wanted) {
                Ok(Some(hierarchy)) => {
                    wanted.retain(|controller| !hierarchy.controllers.contains(controller));
                    hierarchies.push(hierarchy);
                }
                Ok(None) => {}
                Err(error) => unusable.push(error),
            }
        }
        if hierarchies.is_empty() {
            return Err(unusable.pop().map_or(ControlGroupsError::NotMounted, ControlGroupsError::Unusable));
        }
        let mut groups = Self { hierarchies, unusable, launcher: nix::unistd::getpid(), ending: Vec::new() };
        groups.find_left_over()?;
        groups.remove_ended();
        Ok(groups)
    }

    fn find_left_over(&mut self) -> Result<(), GroupError> {
        for hierarchy in &self.hierarchies {
            self.ending.extend(hierarchy.groups()?);
        }
        self.ending.sort();
        self.ending.dedup();
        Ok(())
    }

    /// Makes a card's group.
    ///
    /// # Errors
    /// The kernel has no room for it; nothing of it is left.
    pub fn make(&mut self, instance: u64) -> nix::Result<Group> {
        self.remove_ended();
        let name = self.name(instance);
        let made = self.hierarchies.iter().try_for_each(|hierarchy| hierarchy.make(&name));
        match made.and_then(|()| self.birthplace(&name)) {
            Ok(birthplace) => Ok(Group { name, birthplace }),
            Err(error) => {
                self.end(instance);
                Err(error)
            }
        }
    }

    fn birthplace(&self, name: &str) -> nix::Result<Option<OwnedFd>> {
        let unified = self.hierarchies.iter().find(|hierarchy| hierarchy.version == Version::Two);
        unified.map(|hierarchy| hierarchy.group(name)).transpose()
    }

    /// Has the calling process, a card's that was forked by [`fork`], be in its group in the hierarchies of version 1 too.
    ///
    /// # Errors
    /// The kernel refuses; the card must not run.
    pub fn join(&self, group: &Group) -> nix::Result<()> {
        let mut first = self.hierarchies.iter().filter(|hierarchy| hierarchy.version == Version::One);
        first.try_for_each(|hierarchy| hierarchy.join(&group.name))
    }

    /// Removes the group of a card whose process has ended, as soon as that goes.
    pub fn end(&mut self, instance: u64) {
        self.ending.push(self.name(instance));
        self.remove_ended();
    }

    /// Tries again those that could not be removed.
    pub fn remove_ended(&mut self) {
        let hierarchies = &self.hierarchies;
        self.ending.retain(|name| {
            let busy = |hierarchy: &Hierarchy| hierarchy.remove(name) == Err(Errno::EBUSY);
            hierarchies.iter().filter(|hierarchy| busy(hierarchy)).count() > 0
        });
    }

    /// What bounds cards, or what of it is missing.
    pub fn standing(&self) -> Result<String, String> {
        let bounds: Vec<_> = self.hierarchies.iter().map(bounds).collect();
        let there: Vec<_> = self.hierarchies.iter().flat_map(|hierarchy| &hierarchy.controllers).collect();
        let missing: Vec<_> =
            Controller::ALL.iter().filter(|controller| !there.contains(controller)).collect();
        if missing.is_empty() {
            return Ok(bounds.join("; "));
        }
        let missing: Vec<_> = missing.iter().map(|controller| controller.name()).collect();
        let why: String = self.unusable.iter().map(|error| format!(" ({})", super::explain(error))).collect();
        Err(format!("{} not bounded{why}; {}", missing.join(", "), bounds.join("; ")))
    }

    fn name(&self, instance: u64) -> String {
        format!("{PREFIX}{}-{instance}", self.launcher)
    }
}

/// `version 2: memory 16 MiB without swap, 4 processes`
fn bounds(hierarchy: &Hierarchy) -> String {
    let version = match hierarchy.version {
        Version::One => "version 1",
        Version::Two => "version 2",
    };
    let bounds: Vec<_> = hierarchy.controllers.iter().copied().map(limits::describe).collect();
    format!("{version}: {}", bounds.join(", "))
}
