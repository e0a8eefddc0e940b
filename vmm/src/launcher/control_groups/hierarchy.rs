//! One hierarchy in which cards have groups: below a parent of their own, which no other launcher uses.

use std::{
    fs::{self, File, TryLockError},
    io::{self, ErrorKind},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    sys::stat::{Mode, mkdirat},
    unistd::{UnlinkatFlags, unlinkat, write},
};

use super::{
    PREFIX,
    limits::{self, Limit},
    mounts::{Controller, Mount, Version},
};

/// Cards cannot have groups here.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// The kernel refuses.
    #[error("control group {path}: {what}")]
    Refused {
        /// The group.
        path: PathBuf,
        /// What was asked for.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// Two launchers would remove each other's groups.
    #[error("control group {path} is another launcher's: give each daemon one of its own")]
    InUse {
        /// The group.
        path: PathBuf,
    },
    /// The parent gives no controller on to its children (cgroups(7), "no internal processes").
    #[error(
        "control group {path} gives no controller on: it must have no processes, and its parent must give it some"
    )]
    GivesNothing {
        /// The group.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The parent of the cards' groups in one hierarchy.
pub struct Hierarchy {
    /// Its version.
    pub version: Version,
    /// What bounds cards in it.
    pub controllers: Vec<Controller>,
    path: PathBuf,
    /// Locked as long as this value lives. It is reached whatever becomes of the path.
    folder: File,
}

impl Hierarchy {
    /// Takes `group` as the parent of cards' groups, makes it if it is not there, and tries that cards can be bounded by
    /// the `wanted` controllers that this hierarchy has. `None` if it has none of them.
    ///
    /// # Errors
    /// See [`GroupError`].
    pub fn open(mount: &Mount, group: &Path, wanted: &[Controller]) -> Result<Option<Self>, GroupError> {
        let had = available(mount);
        let controllers: Vec<_> =
            wanted.iter().copied().filter(|controller| had.contains(controller)).collect();
        if controllers.is_empty() {
            return Ok(None);
        }
        let path = mount.folder(group);
        let made = make_folder(&path)?;
        let opened = Self::opened(mount.version, controllers, &path);
        if made && opened.is_err() {
            // The error is what matters.
            let _ = fs::remove_dir(&path);
        }
        opened.map(Some)
    }

    fn opened(version: Version, controllers: Vec<Controller>, path: &Path) -> Result<Self, GroupError> {
        let mut hierarchy = Self { version, controllers, path: path.into(), folder: locked(path)? };
        if version == Version::Two {
            hierarchy.give_on()?;
        }
        hierarchy.rehearse()?;
        Ok(hierarchy)
    }

    /// Has groups below the parent bounded by what is wanted, as far as its own parent lets it.
    fn give_on(&mut self) -> Result<(), GroupError> {
        let above = self.path.join("..");
        let mut refused = None;
        for controller in &self.controllers {
            // It may be given already, or be somebody else's to give.
            let _ = give(&above, *controller);
            refused = give(&self.path, *controller).err().or(refused);
        }
        let given = listed(&self.path.join(SUBTREE));
        self.controllers.retain(|controller| given.contains(controller));
        match refused {
            Some(source) if self.controllers.is_empty() => {
                Err(GroupError::GivesNothing { path: self.path.clone(), source })
            }
            _ => Ok(()),
        }
    }

    /// Makes a group as a card's would be, and removes it.
    fn rehearse(&self) -> Result<(), GroupError> {
        const NAME: &str = "card-rehearsal";
        let made = self.remove(NAME).and_then(|()| self.make(NAME));
        let removed = self.remove(NAME);
        made.and(removed).map_err(|error| self.refused("bound a card by it", error))
    }

    /// Makes a group with a card's limits.
    ///
    /// # Errors
    /// The kernel refuses it; nothing of it is left.
    pub fn make(&self, name: &str) -> nix::Result<()> {
        mkdirat(&self.folder, name, Mode::from_bits_truncate(0o755))?;
        let bounded = limits::of(self.version, &self.controllers).try_for_each(|limit| self.set(name, limit));
        if bounded.is_err() {
            // The error is what matters.
            let _ = self.remove(name);
        }
        bounded
    }

    fn set(&self, name: &str, limit: &Limit) -> nix::Result<()> {
        match self.write(name, limit.file, limit.value) {
            Err(Errno::ENOENT) if limit.only_where_there => Ok(()),
            done => done,
        }
    }

    /// The group itself, for a process that is to be born in it.
    ///
    /// # Errors
    /// It is gone, or no descriptor is left.
    pub fn group(&self, name: &str) -> nix::Result<OwnedFd> {
        openat(&self.folder, name, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
    }

    /// Moves the calling process, which must have one thread, to a group. Its thread alone is moved, since that
    /// waits for no other process of the host, as `cgroup.procs` does.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn join(&self, name: &str) -> nix::Result<()> {
        self.write(name, "tasks", "0")
    }

    /// Removes a group; it may be gone already.
    ///
    /// # Errors
    /// `EBUSY` while a process is in it.
    pub fn remove(&self, name: &str) -> nix::Result<()> {
        match unlinkat(&self.folder, name, UnlinkatFlags::RemoveDir) {
            Err(Errno::ENOENT) => Ok(()),
            done => done,
        }
    }

    /// The groups of cards that are there.
    ///
    /// # Errors
    /// They cannot be listed.
    pub fn groups(&self) -> Result<Vec<String>, GroupError> {
        let failed = |source| GroupError::Refused { path: self.path.clone(), what: "list it", source };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        names.retain(|name| name.starts_with(PREFIX));
        Ok(names)
    }

    fn write(&self, name: &str, file: &str, value: &str) -> nix::Result<()> {
        let path = format!("{name}/{file}");
        let file = openat(&self.folder, path.as_str(), OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        write(&file, value.as_bytes()).map(drop)
    }

    fn refused(&self, what: &'static str, error: Errno) -> GroupError {
        GroupError::Refused { path: self.path.clone(), what, source: error.into() }
    }
}

/// What groups below a group of version 2 have.
const SUBTREE: &str = "cgroup.subtree_control";

fn available(mount: &Mount) -> Vec<Controller> {
    match mount.version {
        Version::One => mount.controllers.clone(),
        Version::Two => listed(&mount.point.join("cgroup.controllers")),
    }
}

fn listed(file: &Path) -> Vec<Controller> {
    Controller::named(fs::read_to_string(file).unwrap_or_default().split_whitespace())
}

fn give(group: &Path, controller: Controller) -> io::Result<()> {
    fs::write(group.join(SUBTREE), format!("+{}", controller.name()))
}

/// True if it was not there.
fn make_folder(path: &Path) -> Result<bool, GroupError> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(GroupError::Refused { path: path.into(), what: "make it", source }),
    }
}

fn locked(path: &Path) -> Result<File, GroupError> {
    let refused = |what| move |source| GroupError::Refused { path: path.into(), what, source };
    let folder = File::open(path).map_err(refused("open it"))?;
    match folder.try_lock() {
        Ok(()) => Ok(folder),
        Err(TryLockError::WouldBlock) => Err(GroupError::InUse { path: path.into() }),
        Err(TryLockError::Error(error)) => Err(refused("lock it")(error)),
    }
}
