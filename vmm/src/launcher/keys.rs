//! What the launcher does with keys: opens or makes a card's at its start, and changes the host's.

use cardhost_wire::{
    custody::{Kept, KeptReply, KeptRequest},
    image_policy::{ImagePolicy, ImageStanding, LeftBehind, Measurement},
    launch::{Refusal, Start},
    wrapping::{Bucket, ImageStep, KeyFault, KeyReply, KeyRequest, WrappedCard, WrappingKey},
};

use super::{
    card_key::{self, Holder, Key},
    explain,
    host_keys::{ChangeError, HostKeys},
    secret_pages::SecretPages,
};

/// Opens the card's key for this image, or makes one, into `key`. Returns it wrapped, and its policy.
pub(super) fn of_start(
    keys: &HostKeys,
    image: Measurement,
    start: &Start,
    key: &mut Key,
) -> Result<(Vec<u8>, ImagePolicy), Refusal> {
    let holder = Holder { card: &start.card, owner: &start.owner };
    let Some(wrapped) = &start.wrapped_key else { return made(keys, image, holder, key) };
    let policy =
        card_key::unwrap(keys, holder, start.image, wrapped, key).map_err(|_| Refusal::WrappedKey)?;
    admitted(policy.standing(&image), start.adopt)?;
    let (present, _) = keys.present(Bucket::of(&start.card)).expect("every card has a bucket");
    if WrappingKey::of(wrapped) == Some(present) {
        return Ok((wrapped.clone(), policy));
    }
    Ok((card_key::wrap(keys, holder, &policy, key).map_err(resources)?, policy))
}

/// The image may have the key.
fn admitted(standing: ImageStanding, adopt: bool) -> Result<(), Refusal> {
    match standing {
        ImageStanding::Settled | ImageStanding::Allowed => Ok(()),
        ImageStanding::NotAdopted if adopt => Ok(()),
        ImageStanding::NotAdopted => Err(Refusal::ImageNotAdopted),
        ImageStanding::LeftBehind => Err(Refusal::ImageLeftBehind),
    }
}

fn made(
    keys: &HostKeys,
    image: Measurement,
    holder: Holder<'_>,
    key: &mut Key,
) -> Result<(Vec<u8>, ImagePolicy), Refusal> {
    getrandom::fill(key).map_err(resources)?;
    let policy = ImagePolicy::of_new_card(image);
    Ok((card_key::wrap(keys, holder, &policy, key).map_err(resources)?, policy))
}

fn resources(error: getrandom::Error) -> Refusal {
    Refusal::Resources(error.to_string())
}

/// Does what the daemon asks about keys. `image` is the one that cards run here.
pub(super) fn answer(keys: &mut HostKeys, image: Measurement, request: &KeyRequest) -> KeyReply {
    let done = match request {
        KeyRequest::UnderWay => Ok(KeyReply::UnderWay(named(keys, &keys.under_way()))),
        KeyRequest::Rotate(buckets) => {
            changed(keys.rotate(buckets)).map(|()| KeyReply::Rotated(named(keys, buckets)))
        }
        KeyRequest::Retire(buckets) => {
            changed(keys.retire(buckets)).map(|()| KeyReply::Retired(named(keys, buckets)))
        }
        KeyRequest::Rewrap(cards) => rewrapped(keys, cards).map(KeyReply::Rewrapped),
        KeyRequest::Image(card, step) => stepped(keys, image, card, *step).map(KeyReply::Stepped),
    };
    done.unwrap_or_else(KeyReply::Failed)
}

/// Does what the daemon asks about what the TPM keeps for it.
pub(super) fn kept(keys: &mut HostKeys, request: &KeptRequest) -> KeptReply {
    let Some(sealed) = keys.sealed_file() else {
        return KeptReply::Failed("no TPM keeps the host key".to_owned());
    };
    let done = match request {
        KeptRequest::Find => {
            sealed.kept().map(|kept| KeptReply::Found(kept.map(|value| Kept(value.to_vec()))))
        }
        KeptRequest::Put(Kept(value)) => match value.as_slice().try_into() {
            Ok(value) => sealed.keep(value).map(|()| KeptReply::Put),
            Err(_) => return KeptReply::Failed("not as long as what a TPM keeps".to_owned()),
        },
    };
    done.unwrap_or_else(|error| KeptReply::Failed(explain(&error)))
}

/// The present keys of these buckets. That of version 1 has none.
fn named(keys: &HostKeys, buckets: &[Bucket]) -> Vec<WrappingKey> {
    let version_1 = WrappingKey { bucket: Bucket::VERSION_1, generation: 0 };
    buckets.iter().map(|bucket| keys.present(*bucket).map_or(version_1, |(name, _)| name)).collect()
}

fn changed(result: Result<(), ChangeError>) -> Result<(), KeyFault> {
    result.map_err(|error| match error {
        ChangeError::NoSuchBucket(bucket) => KeyFault::NoSuchBucket(bucket),
        ChangeError::UnderWay(bucket) => KeyFault::UnderWay(bucket),
        ChangeError::File(_) => KeyFault::File(explain(&error)),
        ChangeError::Tpm(_) => KeyFault::Tpm(explain(&error)),
        ChangeError::Resources(_) => KeyFault::Resources(explain(&error)),
    })
}

fn rewrapped(keys: &HostKeys, cards: &[WrappedCard]) -> Result<Vec<Option<Vec<u8>>>, KeyFault> {
    with_room(|key| cards.iter().map(|card| rewrap(keys, card, key)).collect())
}

fn rewrap(keys: &HostKeys, card: &WrappedCard, key: &mut Key) -> Result<Option<Vec<u8>>, KeyFault> {
    match wrapped_anew(keys, card, key, |_| Ok(())) {
        Err(KeyFault::NotOurs) => Ok(None),
        wrapped => wrapped.map(Some),
    }
}

fn stepped(
    keys: &HostKeys,
    image: Measurement,
    card: &WrappedCard,
    step: ImageStep,
) -> Result<Vec<u8>, KeyFault> {
    let take = |policy: &mut ImagePolicy| match step {
        ImageStep::Allow => policy.allow(image),
        ImageStep::Settle => policy.settle(image),
    };
    with_room(|key| wrapped_anew(keys, card, key, take))
}

/// Opens a card's key into `key`, changes its policy, and wraps it under its bucket's present key.
fn wrapped_anew(
    keys: &HostKeys,
    card: &WrappedCard,
    key: &mut Key,
    change: impl FnOnce(&mut ImagePolicy) -> Result<(), LeftBehind>,
) -> Result<Vec<u8>, KeyFault> {
    let holder = Holder { card: &card.card, owner: &card.owner };
    let opened = card_key::unwrap(keys, holder, card.image, &card.wrapped_key, key);
    let mut policy = opened.map_err(|_| KeyFault::NotOurs)?;
    change(&mut policy).map_err(|LeftBehind| KeyFault::ImageLeftBehind)?;
    let wrapped = card_key::wrap(keys, holder, &policy, key);
    wrapped.map_err(|error| KeyFault::Resources(error.to_string()))
}

/// Lends a place for card keys that is locked, left out of dumps, and erased.
fn with_room<T>(work: impl FnOnce(&mut Key) -> Result<T, KeyFault>) -> Result<T, KeyFault> {
    let mut page =
        SecretPages::new(size_of::<Key>()).map_err(|error| KeyFault::Resources(error.to_string()))?;
    work((&mut page[..]).try_into().expect("as long as a key"))
}
