//! The layers between a card and its host: which of them the launcher has entered, and which the host does not give.
//!
//! A card runs without some of them; whoever operates the host is told. As text a layer is one line,
//! `users missing: all cards run as the daemon's user`.

use alloc::{borrow::ToOwned, string::String};
use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::DecodeError;

/// A layer's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LayerName {
    /// Each card in a virtual machine.
    VirtualMachine,
    /// Each card's process a user of its own.
    Users,
    /// No capability (capabilities(7)).
    Capabilities,
    /// Network, IPC, UTS and mount namespaces without anything of the host's (namespaces(7)).
    Namespaces,
    /// A root directory with nothing in it.
    Root,
    /// A filter of system calls (seccomp(2)).
    SystemCalls,
    /// Limits of the process (setrlimit(2)).
    Limits,
    /// A control group for each card (cgroups(7)): memory without swap, CPU time, processes.
    ControlGroup,
    /// Long slices of the processor for guests that compute for long (sched_setattr(2)).
    Slices,
    /// The host's keys locked in memory (mlock(2)).
    LockedKeys,
}

impl LayerName {
    /// All of them, the strongest first.
    pub const ALL: [Self; 10] = [
        Self::VirtualMachine,
        Self::Users,
        Self::Capabilities,
        Self::Namespaces,
        Self::Root,
        Self::SystemCalls,
        Self::Limits,
        Self::ControlGroup,
        Self::Slices,
        Self::LockedKeys,
    ];

    /// As operators see it: stable, one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::VirtualMachine => "virtual-machine",
            Self::Users => "users",
            Self::Capabilities => "capabilities",
            Self::Namespaces => "namespaces",
            Self::Root => "root",
            Self::SystemCalls => "system-calls",
            Self::Limits => "limits",
            Self::ControlGroup => "cgroup",
            Self::Slices => "slices",
            Self::LockedKeys => "locked-keys",
        }
    }
}

/// How a layer stands on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Which.
    pub name: LayerName,
    /// True if it is there, for every card.
    pub holds: bool,
    /// What it is made of, or why it is missing.
    pub detail: String,
}

const HOLDS: &str = "holds";
const MISSING: &str = "missing";

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let standing = if self.holds { HOLDS } else { MISSING };
        write!(f, "{} {standing}: {}", self.name.name(), self.detail)
    }
}

impl FromStr for Layer {
    type Err = DecodeError;

    fn from_str(line: &str) -> Result<Self, DecodeError> {
        let (head, detail) = line.split_once(": ").ok_or(DecodeError)?;
        let (name, standing) = head.split_once(' ').ok_or(DecodeError)?;
        let name = LayerName::ALL.into_iter().find(|other| other.name() == name).ok_or(DecodeError)?;
        let holds = match standing {
            HOLDS => true,
            MISSING => false,
            _ => return Err(DecodeError),
        };
        Ok(Self { name, holds, detail: detail.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn every_layer_is_read_as_it_is_written() {
        for name in LayerName::ALL {
            for holds in [true, false] {
                let layer = Layer { name, holds, detail: "version 1: memory, pids".into() };
                assert_eq!(layer.to_string().parse(), Ok(layer));
            }
        }
    }

    #[test]
    fn other_lines_are_no_layers() {
        for line in ["", "cards can run here", "users: none", "users maybe: why", "moat holds: deep"] {
            assert_eq!(line.parse::<Layer>(), Err(DecodeError), "{line}");
        }
    }
}
