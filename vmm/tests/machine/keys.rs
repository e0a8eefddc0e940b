//! The wrapping keys through the launcher's protocol, and the launcher's death between the steps.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use cardhost_wire::{
    launch::{Isolation, Refusal, Reply, Request, Start},
    wrapping::{Bucket, KeyFault, KeyReply, KeyRequest, WrappedCard, WrappingKey},
};

use crate::{
    guest::Guest,
    launcher::{Launcher, kvm},
};

/// The bucket of the harness's card.
const BUCKET: Bucket = Bucket(7);

impl Launcher {
    pub fn keys(&self, request: KeyRequest) -> KeyReply {
        self.request(&Request::Keys(request), None);
        match self.reply(|reply| matches!(reply, Reply::Keys(_))) {
            Reply::Keys(reply) => reply,
            _ => unreachable!("asked for"),
        }
    }

    fn rewrap(&self, wrapped_key: &[u8]) -> Option<Vec<u8>> {
        let card = WrappedCard {
            card: [7; 16],
            owner: [8; 32],
            image: Guest::card().measurement,
            wrapped_key: wrapped_key.into(),
        };
        match self.keys(KeyRequest::Rewrap(vec![card])) {
            KeyReply::Rewrapped(mut keys) => keys.remove(0),
            other => panic!("{other:?}"),
        }
    }

    pub fn starts(&self, wrapped_key: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.starts_with(wrapped_key, |_| {})
    }

    /// Starts a card with this key, altered further; tells its key as the launcher gives it.
    pub fn starts_with(
        &self,
        wrapped_key: &[u8],
        alter: impl FnOnce(&mut Start),
    ) -> Result<Vec<u8>, Refusal> {
        let start = |start: &mut Start| {
            start.wrapped_key = Some(wrapped_key.into());
            alter(start);
        };
        match self.start(start).0 {
            Reply::Started { wrapped_key, .. } => Ok(wrapped_key),
            Reply::Refused { reason, .. } => Err(reason),
            other => panic!("{other:?}"),
        }
    }
}

fn generation(generation: u32) -> Vec<WrappingKey> {
    vec![WrappingKey { bucket: BUCKET, generation }]
}

#[test]
fn a_rotation_leaves_only_what_was_wrapped_anew() {
    if !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::card());
    let first = launcher.card().wrapped_key;
    assert_eq!(launcher.keys(KeyRequest::UnderWay), KeyReply::UnderWay(vec![]));
    assert_eq!(launcher.keys(KeyRequest::Rotate(vec![BUCKET])), KeyReply::Rotated(generation(2)));
    let again = KeyReply::Failed(KeyFault::UnderWay(BUCKET));
    assert_eq!(launcher.keys(KeyRequest::Rotate(vec![BUCKET])), again);
    // A start wraps anew too, so that the daemon never stores what is about to be retired.
    let by_start = launcher.starts(&first).unwrap();
    assert_eq!(WrappingKey::of(&by_start), generation(2).pop());
    let rewrapped = launcher.rewrap(&first).unwrap();
    assert_eq!(launcher.rewrap(&first[1..]), None);
    assert_eq!(launcher.keys(KeyRequest::Retire(vec![BUCKET])), KeyReply::Retired(generation(2)));
    assert_eq!(launcher.starts(&first), Err(Refusal::WrappedKey));
    for kept in [by_start, rewrapped] {
        assert_eq!(launcher.starts(&kept), Ok(kept));
    }
    let none = Bucket(300);
    let nowhere = KeyReply::Failed(KeyFault::NoSuchBucket(none));
    assert_eq!(launcher.keys(KeyRequest::Rotate(vec![BUCKET, none])), nowhere);
    assert_eq!(launcher.keys(KeyRequest::UnderWay), KeyReply::UnderWay(vec![]));
}

#[test]
fn a_rotation_survives_the_launchers_death() {
    if !kvm() {
        return;
    }
    let mut launcher = Launcher::new(Guest::card());
    let first = launcher.card().wrapped_key;
    launcher.keys(KeyRequest::Rotate(vec![BUCKET]));
    let later = launcher.rewrap(&first).unwrap();
    launcher.process.kill().unwrap();
    let host_key = launcher.host_key();
    let mut next = after(&host_key);
    assert_eq!(next.keys(KeyRequest::UnderWay), KeyReply::UnderWay(generation(2)));
    assert!(next.starts(&first).is_ok() && next.starts(&later).is_ok());
    assert_eq!(next.keys(KeyRequest::Retire(vec![BUCKET])), KeyReply::Retired(generation(2)));
    next.process.kill().unwrap();
    let last = after(&host_key);
    assert_eq!((last.starts(&first), last.starts(&later)), (Err(Refusal::WrappedKey), Ok(later)));
}

/// Another launcher with the same keys.
fn after(host_key: &Path) -> Launcher {
    Launcher::after(host_key, Isolation::MicroVm, Guest::card())
}

/// The key of the first version was 32 bytes in the file; what it wrapped opens until it is retired.
#[test]
fn a_host_key_of_the_first_version_is_carried_over() {
    if !kvm() {
        return;
    }
    let launcher = Launcher::spawn(None);
    write_private(&launcher.host_key(), &[4; 32]);
    launcher.hello(Guest::card(), Guest::card().measurement);
    launcher.ready(Isolation::MicroVm);
    let version_1 = WrappingKey { bucket: Bucket::VERSION_1, generation: 0 };
    assert_eq!(launcher.keys(KeyRequest::UnderWay), KeyReply::UnderWay(vec![version_1]));
    let frozen = WrappedCard {
        card: [1; 16],
        owner: [2; 32],
        image: [3; 32],
        wrapped_key: include_bytes!("../../fixtures/card-key-v1.bin").to_vec(),
    };
    let rewrap = || match launcher.keys(KeyRequest::Rewrap(vec![frozen.clone()])) {
        KeyReply::Rewrapped(mut keys) => keys.remove(0),
        other => panic!("{other:?}"),
    };
    assert_eq!(WrappingKey::of(&rewrap().unwrap()).map(|key| key.bucket), Some(Bucket(1)));
    // It is of a card that was made with another image than this launcher's.
    let (refused, _) = launcher.start(|start| {
        (start.card, start.owner, start.image) = (frozen.card, frozen.owner, frozen.image);
        start.wrapped_key = Some(frozen.wrapped_key.clone());
    });
    assert!(matches!(refused, Reply::Refused { reason: Refusal::ImageNotAdopted, .. }), "{refused:?}");
    let retired = launcher.keys(KeyRequest::Retire(vec![Bucket::VERSION_1]));
    assert_eq!((retired, rewrap()), (KeyReply::Retired(vec![version_1]), None));
}

fn write_private(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
