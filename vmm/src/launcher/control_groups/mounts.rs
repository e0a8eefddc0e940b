//! Where this host has its control groups (cgroups(7)): what proc(5) says of mounts and of this process's own groups.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What bounds cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// Memory, the kernel's for the process included.
    Memory,
    /// Time on the processors.
    Cpu,
    /// Processes and threads.
    Pids,
}

impl Controller {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Cpu, Self::Pids];

    /// The kernel's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Pids => "pids",
        }
    }

    /// Those of a list that are named in it.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<Self> {
        let find = |name| Self::ALL.into_iter().find(|controller| controller.name() == name);
        names.into_iter().filter_map(find).collect()
    }
}

/// Version of a hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Each hierarchy has controllers for itself.
    One,
    /// One hierarchy has all controllers that no other has; its groups tell which they give on.
    Two,
}

/// A mounted hierarchy.
#[derive(Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its version.
    pub version: Version,
    /// The controllers of one of version 1.
    pub controllers: Vec<Controller>,
    /// Where.
    pub point: PathBuf,
    /// This process's own group below it.
    own: PathBuf,
}

impl Mount {
    /// The hierarchies that may have a controller of cards.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub fn all() -> io::Result<Vec<Self>> {
        Ok(parse(&fs::read_to_string("/proc/self/mountinfo")?, &fs::read_to_string("/proc/self/cgroup")?))
    }

    /// The folder of a group that is named from the hierarchy's root, or below this process's own.
    pub fn folder(&self, group: &Path) -> PathBuf {
        match group.strip_prefix("/") {
            Ok(from_root) => self.point.join(from_root),
            Err(_) => self.point.join(&self.own).join(group),
        }
    }
}

fn parse(mounts: &str, own: &str) -> Vec<Mount> {
    mounts.lines().filter_map(|line| mount(line, own)).collect()
}

/// `ID PARENT DEVICE ROOT POINT OPTIONS [TAG]... - TYPE SOURCE OPTIONS-OF-THE-FILE-SYSTEM`
fn mount(line: &str, own: &str) -> Option<Mount> {
    let (place, system) = line.split_once(" - ")?;
    let (mut place, mut system) = (place.split(' ').skip(3), system.split(' '));
    let (root, point) = (unescaped(place.next()?), unescaped(place.next()?));
    let (version, controllers) = match (system.next()?, system.nth(1)?) {
        ("cgroup", options) => (Version::One, Controller::named(options.split(','))),
        ("cgroup2", _) => (Version::Two, Vec::new()),
        _ => return None,
    };
    if version == Version::One && controllers.is_empty() {
        return None;
    }
    let own = own_group(own, controllers.first().copied())?;
    // A mount of a part that this process's own group is not in shows nothing of it.
    let own = Path::new(own).strip_prefix(&root).unwrap_or(Path::new("")).to_owned();
    Some(Mount { version, controllers, point: point.into(), own })
}

/// This process's group in the hierarchy of a controller, or in that of version 2: `NUMBER:CONTROLLER[,…]:/GROUP`.
fn own_group(own: &str, controller: Option<Controller>) -> Option<&str> {
    let is_it = |names: &str| match controller {
        Some(controller) => names.split(',').any(|name| name == controller.name()),
        None => names.is_empty(),
    };
    own.lines().find_map(|line| {
        let (names, group) = line.split_once(':')?.1.split_once(':')?;
        is_it(names).then_some(group)
    })
}

/// mountinfo has spaces and their like as a backslash and three octal digits.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |whole, part| match part.get(..3).map(|digits| u8::from_str_radix(digits, 8)) {
        Some(Ok(byte)) => format!("{whole}{}{}", char::from(byte), &part[3..]),
        _ => whole + "\\" + part,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION_1: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:10 master:2 - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
    const OWN_1: &str = "4:memory:/lab/a\n2:cpu,cpuacct:/\n1:name=systemd:/user\n0::/user";

    #[test]
    fn hierarchies_of_version_1_are_found_with_their_controllers() {
        let mounts = parse(VERSION_1, OWN_1);
        let seen: Vec<_> = mounts.iter().map(|mount| (mount.version, &mount.controllers[..])).collect();
        let (cpu, memory) = ([Controller::Cpu], [Controller::Memory]);
        assert_eq!(seen, [(Version::One, &cpu[..]), (Version::One, &memory[..]), (Version::Two, &[][..])]);
    }

    #[test]
    fn a_group_is_named_from_the_root_or_below_the_own() {
        let folders = |group: &str| {
            let mounts = parse(VERSION_1, OWN_1);
            mounts.iter().map(|mount| mount.folder(Path::new(group))).collect::<Vec<_>>()
        };
        let under = |names: [&str; 3]| names.map(|name| Path::new("/sys/fs/cgroup").join(name));
        assert_eq!(folders("/cards"), under(["cpu,cpuacct/cards", "memory/cards", "unified/cards"]));
        assert_eq!(
            folders("cards"),
            under(["cpu,cpuacct/cards", "memory/lab/a/cards", "unified/user/cards"])
        );
    }

    #[test]
    fn a_mount_of_a_part_begins_there() {
        let mounts = "9 8 0:38 /pod/box /sys/fs/control\\040groups ro - cgroup2 cgroup rw,nsdelegate";
        let mounts = parse(mounts, "0::/pod/box/daemon");
        let point = Path::new("/sys/fs/control groups");
        assert_eq!(mounts[0].folder(Path::new("/cards")), point.join("cards"));
        assert_eq!(mounts[0].folder(Path::new("../cards")), point.join("daemon/../cards"));
    }

    #[test]
    fn other_lines_are_passed_over() {
        for line in ["", "1 2 3", "31 23 0:28 / /sys rw - sysfs sysfs rw", "1 2 0:3 / /x rw - cgroup2"] {
            assert_eq!(parse(line, "0::/"), [], "{line}");
        }
    }
}
