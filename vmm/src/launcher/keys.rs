//! What the launcher does with keys: opens or makes a card's at its start, and changes the host's.

use cardhost_wire::{
    launch::{Refusal, Start},
    wrapping::{Bucket, KeyFault, KeyReply, KeyRequest, WrappedCard, WrappingKey},
};

use super::{
    card_key::{self, Holder, Key},
    explain,
    host_keys::{ChangeError, HostKeys},
    image_policy::{ImagePolicy, Measurement},
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
    if !policy.allows(&image) {
        return Err(Refusal::Image);
    }
    let (present, _) = keys.present(Bucket::of(&start.card)).expect("every card has a bucket");
    if WrappingKey::of(wrapped) == Some(present) {
        return Ok((wrapped.clone(), policy));
    }
    Ok((card_key::wrap(keys, holder, &policy, key).map_err(resources)?, policy))
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

/// Does what the daemon asks about the wrapping keys.
pub(super) fn answer(keys: &mut HostKeys, request: &KeyRequest) -> KeyReply {
    let done = match request {
        KeyRequest::UnderWay => Ok(KeyReply::UnderWay(named(keys, &keys.under_way()))),
        KeyRequest::Rotate(buckets) => {
            changed(keys.rotate(buckets)).map(|()| KeyReply::Rotated(named(keys, buckets)))
        }
        KeyRequest::Retire(buckets) => {
            changed(keys.retire(buckets)).map(|()| KeyReply::Retired(named(keys, buckets)))
        }
        KeyRequest::Rewrap(cards) => rewrapped(keys, cards).map(KeyReply::Rewrapped),
    };
    done.unwrap_or_else(KeyReply::Failed)
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
        ChangeError::Resources(_) => KeyFault::Resources(explain(&error)),
    })
}

fn rewrapped(keys: &HostKeys, cards: &[WrappedCard]) -> Result<Vec<Option<Vec<u8>>>, KeyFault> {
    let mut page =
        SecretPages::new(size_of::<Key>()).map_err(|error| KeyFault::Resources(error.to_string()))?;
    let key: &mut Key = (&mut page[..]).try_into().expect("as long as a key");
    cards.iter().map(|card| rewrap(keys, card, key)).collect()
}

fn rewrap(keys: &HostKeys, card: &WrappedCard, key: &mut Key) -> Result<Option<Vec<u8>>, KeyFault> {
    let holder = Holder { card: &card.card, owner: &card.owner };
    let Ok(policy) = card_key::unwrap(keys, holder, card.image, &card.wrapped_key, key) else {
        return Ok(None);
    };
    let wrapped = card_key::wrap(keys, holder, &policy, key);
    wrapped.map(Some).map_err(|error| KeyFault::Resources(error.to_string()))
}
