//! Which images may have a card's key: two guests that differ in their measurement alone, and the steps from one to
//! the other.

use std::path::Path;

use cardhost_wire::{
    image_policy::ImagePolicy,
    launch::{Isolation, Refusal},
    wrapping::{Bucket, ImageStep, KeyFault, KeyReply, KeyRequest, PREFIX, WrappedCard, WrappingKey},
};

use crate::{
    guest::Guest,
    launcher::{Launcher, kvm},
};

/// The bucket of the harness's card.
const BUCKET: Bucket = Bucket(7);

/// The card's guest with bytes behind it that no program header names.
fn later(number: u8) -> Guest {
    let mut elf = Guest::card().elf.clone();
    elf.push(number);
    Guest::from_elf(elf)
}

impl Launcher {
    /// Ends this launcher; another one, for this image, comes in its place, with the host's same keys.
    fn followed_by(&mut self, host_key: &Path, guest: &Guest) -> Self {
        self.process.kill().unwrap();
        Self::after(host_key, Isolation::MicroVm, guest)
    }

    fn adopts(&self, wrapped_key: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.starts_with(wrapped_key, |start| start.adopt = true)
    }

    fn step(&self, step: ImageStep, wrapped_key: &[u8]) -> Result<Vec<u8>, KeyFault> {
        let image = Guest::card().measurement;
        let card = WrappedCard { card: [7; 16], owner: [8; 32], image, wrapped_key: wrapped_key.into() };
        match self.keys(KeyRequest::Image(card, step)) {
            KeyReply::Stepped(wrapped_key) => Ok(wrapped_key),
            KeyReply::Failed(fault) => Err(fault),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_image_has_the_key_of_an_older_one_only_if_it_is_adopted() {
    if !kvm() {
        return;
    }
    let mut first = Launcher::new(Guest::card());
    let (host_key, key) = (first.host_key(), first.card().wrapped_key);
    let mut second = first.followed_by(&host_key, &later(1));
    assert_eq!(second.starts(&key), Err(Refusal::ImageNotAdopted));
    // The key stays as it is: the older image starts the card again.
    assert_eq!(second.adopts(&key), Ok(key.clone()));
    let again = second.followed_by(&host_key, Guest::card());
    assert_eq!(again.starts(&key), Ok(key));
}

#[test]
fn an_allowed_image_and_the_one_before_both_have_the_key_until_it_is_settled() {
    if !kvm() {
        return;
    }
    let mut first = Launcher::new(Guest::card());
    let (host_key, key) = (first.host_key(), first.card().wrapped_key);
    let mut second = first.followed_by(&host_key, &later(1));
    let allowed = second.step(ImageStep::Allow, &key).unwrap();
    assert_eq!(second.starts(&allowed), Ok(allowed.clone()));
    let settled = second.step(ImageStep::Settle, &allowed).unwrap();
    assert_eq!(second.starts(&settled), Ok(settled.clone()));
    let mut again = second.followed_by(&host_key, Guest::card());
    assert_eq!(again.starts(&allowed), Ok(allowed));
    assert_eq!(again.starts(&settled), Err(Refusal::ImageLeftBehind));
    assert_eq!(again.adopts(&settled), Err(Refusal::ImageLeftBehind));
    for step in [ImageStep::Allow, ImageStep::Settle] {
        assert_eq!(again.step(step, &settled), Err(KeyFault::ImageLeftBehind));
    }
    let third = again.followed_by(&host_key, &later(2));
    assert_eq!(third.starts(&settled), Err(Refusal::ImageNotAdopted));
    assert_eq!(third.adopts(&settled), Ok(settled));
}

#[test]
fn a_step_wraps_under_the_present_key() {
    if !kvm() {
        return;
    }
    let mut first = Launcher::new(Guest::card());
    let (host_key, key) = (first.host_key(), first.card().wrapped_key);
    let second = first.followed_by(&host_key, &later(1));
    second.keys(KeyRequest::Rotate(vec![BUCKET]));
    let settled = second.step(ImageStep::Settle, &key).unwrap();
    let present = WrappingKey { bucket: BUCKET, generation: 2 };
    assert_eq!(WrappingKey::of(&settled), Some(present));
    assert_eq!(second.keys(KeyRequest::Retire(vec![BUCKET])), KeyReply::Retired(vec![present]));
    assert_eq!(second.starts(&settled), Ok(settled.clone()));
    assert_eq!(second.step(ImageStep::Settle, &key), Err(KeyFault::NotOurs));
}

/// The policy stands in the wrapped key for everyone to read; whoever changes it changes what opens.
#[test]
fn a_policy_that_was_changed_in_the_store_opens_nothing() {
    if !kvm() {
        return;
    }
    let mut first = Launcher::new(Guest::card());
    let (host_key, key) = (first.host_key(), first.card().wrapped_key);
    let next = later(1);
    let mut second = first.followed_by(&host_key, &next);
    let (_, sealed) = ImagePolicy::decode(&key[PREFIX..]).unwrap();
    let forged = [ImagePolicy::of_new_card(next.measurement), {
        let mut policy = ImagePolicy::of_new_card(Guest::card().measurement);
        policy.allow(next.measurement).unwrap();
        policy
    }];
    for policy in forged {
        let mut wrapped = key[..PREFIX].to_vec();
        policy.encode(&mut wrapped);
        wrapped.extend(sealed);
        assert_eq!(second.adopts(&wrapped), Err(Refusal::WrappedKey));
        assert_eq!(second.step(ImageStep::Allow, &wrapped), Err(KeyFault::NotOurs));
    }
    // Nor is an image brought back by taking it out of those that were left behind.
    let settled = second.step(ImageStep::Settle, &key).unwrap();
    let (_, sealed) = ImagePolicy::decode(&settled[PREFIX..]).unwrap();
    let mut wrapped = settled[..PREFIX].to_vec();
    ImagePolicy::of_new_card(Guest::card().measurement).encode(&mut wrapped);
    wrapped.extend(sealed);
    let again = second.followed_by(&host_key, Guest::card());
    assert_eq!(again.starts(&wrapped), Err(Refusal::WrappedKey));
}

#[test]
fn a_card_as_a_process_is_adopted_likewise() {
    let mut first = Launcher::isolating(Isolation::Process, Guest::card());
    let (host_key, key) = (first.host_key(), first.card().wrapped_key);
    first.process.kill().unwrap();
    let second = Launcher::after(&host_key, Isolation::Process, &later(1));
    assert_eq!(second.starts(&key), Err(Refusal::ImageNotAdopted));
    assert_eq!(second.adopts(&key), Ok(key.clone()));
    let settled = second.step(ImageStep::Settle, &key).unwrap();
    assert_eq!(second.starts(&settled), Ok(settled));
}
