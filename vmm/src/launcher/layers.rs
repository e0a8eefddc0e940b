//! What the launcher tells of the layers between its cards and the host: what it has entered itself, and what each card's
//! process enters before its guest runs, for a card that cannot is not started.

use std::{fmt::Display, path::Path};

use cardhost_wire::{
    launch::{Isolation, UserIds},
    layers::{Layer, LayerName},
};
use nix::errno::Errno;

use super::{
    LauncherError,
    control_groups::ControlGroups,
    host_keys,
    isolation::{self, CardUsers, MissingLayer, Namespaces},
    secret_pages::SecretPages,
};
use crate::card::priority;

/// What a launcher has entered, in the order in which it does.
pub struct Entered<'a> {
    /// How it keeps cards apart.
    pub isolation: Isolation,
    /// Whom cards become.
    pub users: Result<CardUsers, MissingLayer>,
    /// The namespaces.
    pub namespaces: Result<Namespaces, MissingLayer>,
    /// The parents of cards' control groups, if there are any.
    pub groups: Option<&'a ControlGroups>,
    /// The empty root.
    pub root: Result<(), MissingLayer>,
    /// Why the host's keys may be swapped out, if they may.
    pub swappable: Option<Errno>,
}

impl Entered<'_> {
    /// Every layer, the strongest first.
    pub fn layers(self) -> Vec<Layer> {
        let groups = self.groups.map_or(Err("none is configured".to_owned()), ControlGroups::standing);
        let locked = self.swappable.map_or(Ok("in memory"), |why| Err(MissingLayer::Locking(why)));
        vec![
            layer(LayerName::VirtualMachine, virtual_machine(self.isolation)),
            layer(LayerName::Users, self.users),
            holds(LayerName::Capabilities, "none"),
            layer(LayerName::Namespaces, self.namespaces.map(Namespaces::describe)),
            layer(LayerName::Root, self.root.map(|()| "empty and read-only")),
            holds(LayerName::SystemCalls, "those of the running card alone, by seccomp"),
            holds(LayerName::Limits, "addresses, descriptors, locked memory, queues, core dumps"),
            layer(LayerName::ControlGroup, groups),
            layer(LayerName::Slices, slices()),
            layer(LayerName::LockedKeys, locked),
        ]
    }
}

/// Enters every layer as a launcher does, but for the keys' own, which are tried with pages of their size. To be asked in a
/// process that ends after it.
///
/// # Errors
/// The parent of the control groups cannot be used.
pub fn trial(isolation: Isolation, parent: Option<&Path>) -> Result<Vec<Layer>, LauncherError> {
    let (namespaces, users) = isolation::enter_namespaces(UserIds::DEFAULT);
    let groups = parent.map(ControlGroups::open).transpose()?;
    let root = isolation::enter_root();
    let pages = SecretPages::new(host_keys::LENGTH)
        .map_err(|source| LauncherError::System { what: "memory for keys", source })?;
    let swappable = pages.swappable;
    Ok(Entered { isolation, users, namespaces, groups: groups.as_ref(), root, swappable }.layers())
}

fn layer(name: LayerName, standing: Result<impl Display, impl Display>) -> Layer {
    match standing {
        Ok(detail) => Layer { name, holds: true, detail: detail.to_string() },
        Err(detail) => Layer { name, holds: false, detail: detail.to_string() },
    }
}

fn holds(name: LayerName, detail: &str) -> Layer {
    Layer { name, holds: true, detail: detail.to_owned() }
}

fn virtual_machine(isolation: Isolation) -> Result<&'static str, &'static str> {
    match isolation {
        Isolation::MicroVm => Ok("one for each card, by KVM"),
        Isolation::Process => Err("cards are processes: the host's kernel alone keeps them in"),
    }
}

fn slices() -> Result<&'static str, &'static str> {
    if priority::is_obeyed() {
        Ok("long ones for guests that compute for long")
    } else {
        Err("the scheduler has none to set (before Linux 6.12): a busy card's neighbours wait for its slice")
    }
}
