//! Ids that the host's administrator has set aside for a user: /etc/subuid and /etc/subgid (subuid(5)).

use std::{fs, path::Path};

use nix::unistd::Uid;

/// shadow's programs that map them; they are privileged.
pub const NEWUIDMAP: &str = "/usr/bin/newuidmap";
/// Of groups.
pub const NEWGIDMAP: &str = "/usr/bin/newgidmap";

/// As many users as groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subordinate {
    /// The first user id.
    pub uid: u32,
    /// The first group id.
    pub gid: u32,
    /// How many of each.
    pub count: u32,
}

impl Subordinate {
    /// Those of a user of this host, if there are some and the programs to use them.
    pub fn of(user: Uid) -> Option<Self> {
        if ![NEWUIDMAP, NEWGIDMAP].iter().all(|program| Path::new(program).exists()) {
            return None;
        }
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self::listed(user.as_raw(), &read("/etc/passwd"), &read("/etc/subuid"), &read("/etc/subgid"))
    }

    fn listed(user: u32, users: &str, uids: &str, gids: &str) -> Option<Self> {
        let number = user.to_string();
        let name = users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1) == Some(&*number)).then_some(name)
        });
        let [(uid, uids), (gid, gids)] = [longest(uids, name, &number)?, longest(gids, name, &number)?];
        Some(Self { uid, gid, count: uids.min(gids) })
    }
}

/// First and length of a user's longest range: `NAME-OR-NUMBER:FIRST:COUNT`.
fn longest(ranges: &str, name: Option<&str>, number: &str) -> Option<(u32, u32)> {
    let own = ranges.lines().filter_map(|line| {
        let (owner, range) = line.split_once(':')?;
        let (first, count) = range.split_once(':')?;
        let is_own = Some(owner) == name || owner == number;
        is_own.then_some((first.parse().ok()?, count.trim().parse().ok()?))
    });
    own.filter(|(_, count)| *count > 0).max_by_key(|(_, count)| *count)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\ntill:x:1001:1001::/:/bin/sh\n";

    #[test]
    fn the_longest_range_of_a_user_is_taken_by_name_or_number() {
        let uids = "root:1:5\n1001:300000:10\ntill:100000:65536\n";
        let gids = "1001:200000:1000\n";
        let expected = Subordinate { uid: 100_000, gid: 200_000, count: 1000 };
        assert_eq!(Subordinate::listed(1001, USERS, uids, gids), Some(expected));
    }

    #[test]
    fn nobody_has_what_is_not_listed() {
        for (uids, gids) in [
            ("till:100000:65536", ""),
            ("", "till:100000:65536"),
            ("till:100000:0", "till:100000:9"),
            ("till:100000", "till:100000:9"),
            ("other:100000:65536", "other:100000:65536"),
        ] {
            assert_eq!(Subordinate::listed(1001, USERS, uids, gids), None, "{uids} {gids}");
        }
        assert_eq!(Subordinate::listed(7, USERS, "till:1:2", "till:1:2"), None);
    }
}
