//! Wrapping keys: under which of them a card's key stands wrapped, and how the daemon has the launcher change them.
//!
//! A host has one wrapping key for each [`Bucket`] of cards, with a generation that only grows. Rotation is the way
//! to the next one:
//!
//! ```text
//!  one generation ──Rotate──▶ two generations ──(Rewrap)*, each stored by the daemon──▶ Retire ──▶ one generation
//!                             new keys are wrapped under the new one, both open
//! ```
//!
//! Each step is durable at the launcher before it is answered. The daemon finishes a rotation that was interrupted:
//! [`KeyRequest::UnderWay`] names it.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::control::CardId;

/// How many buckets there are.
pub const BUCKETS: usize = 256;
/// Most cards in one [`KeyRequest::Rewrap`], so that request and reply stay below [`crate::launch::MAX_MESSAGE`].
pub const MAX_CARDS: usize = 96;
/// Longest wrapped key that the launcher makes or takes, bytes.
pub const MAX_WRAPPED: usize = 512;

/// Cards whose keys are wrapped under the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Bucket(pub u16);

impl Bucket {
    /// The one key of a host key file of version 1, under which the keys of all cards were wrapped. It can only be
    /// retired.
    pub const VERSION_1: Self = Self(BUCKETS as u16);

    /// The bucket of this card: the first byte of its identity, which is random.
    pub const fn of(card: &CardId) -> Self {
        Self(card[0] as u16)
    }

    /// Every bucket of cards.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..BUCKETS as u16).map(Self)
    }
}

/// A wrapping key's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappingKey {
    /// Whose keys it wraps.
    pub bucket: Bucket,
    /// Which of the bucket's keys it is, from 1; 0 for the one of [`Bucket::VERSION_1`].
    pub generation: u32,
}

/// Bytes of [`WrappingKey::prefix`].
pub const PREFIX: usize = 6;

impl WrappingKey {
    /// What every wrapped key of format 2 under this wrapping key begins with: format, bucket, generation.
    pub fn prefix(self) -> [u8; PREFIX] {
        let [a, b, c, d] = self.generation.to_be_bytes();
        [2, self.bucket.0 as u8, a, b, c, d]
    }

    /// The key under which this is wrapped, by what it says itself; `None` if its format is unknown.
    pub fn of(wrapped: &[u8]) -> Option<Self> {
        match *wrapped {
            [1, ..] => Some(Self { bucket: Bucket::VERSION_1, generation: 0 }),
            [2, bucket, a, b, c, d, ..] => {
                Some(Self { bucket: Bucket(u16::from(bucket)), generation: u32::from_be_bytes([a, b, c, d]) })
            }
            _ => None,
        }
    }
}

/// A card with its wrapped key, as the daemon has stored it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedCard {
    /// The card.
    pub card: CardId,
    /// SHA-256 of the terminal's name.
    pub owner: [u8; 32],
    /// SHA-256 of the image that the card was made with: a wrapped key of format 1 does not say it itself.
    pub image: [u8; 32],
    /// Its key.
    pub wrapped_key: Vec<u8>,
}

/// About wrapping keys, from the daemon to the launcher; one at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyRequest {
    /// Which buckets have two generations. Answered by [`KeyReply::UnderWay`].
    UnderWay,
    /// Give these buckets another generation. Answered by [`KeyReply::Rotated`].
    Rotate(Vec<Bucket>),
    /// Wrap these cards' keys under their buckets' present keys. Answered by [`KeyReply::Rewrapped`].
    Rewrap(Vec<WrappedCard>),
    /// Destroy the earlier generation of these buckets. Answered by [`KeyReply::Retired`].
    Retire(Vec<Bucket>),
    /// Take this step of the card's image policy with the launcher's own image. Answered by [`KeyReply::Stepped`].
    Image(WrappedCard, ImageStep),
}

/// A step of a card's image policy ([`crate::image_policy::ImagePolicy`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageStep {
    /// The image may have the key, beside those that may already.
    Allow,
    /// The image writes the card's state: no other may have the key from now on.
    Settle,
}

/// The launcher's answer to a [`KeyRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyReply {
    /// The present keys of the buckets that have an earlier one as well; the key of version 1 is always one of them.
    UnderWay(Vec<WrappingKey>),
    /// These are the present keys now, in the order of the request.
    Rotated(Vec<WrappingKey>),
    /// The keys wrapped anew, in the order of the request; `None` for one that does not open here.
    Rewrapped(Vec<Option<Vec<u8>>>),
    /// The present keys of the request's buckets; everything before them is destroyed.
    Retired(Vec<WrappingKey>),
    /// The card's key with the policy after the step, under its bucket's present key. It may take the place of the one
    /// that it was made from, and of no other.
    Stepped(Vec<u8>),
    /// It was not done; nothing has changed.
    Failed(KeyFault),
}

/// Why the launcher did not do what a [`KeyRequest`] asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyFault {
    /// This bucket does not exist, or cannot be rotated.
    NoSuchBucket(Bucket),
    /// The rotation of this bucket is not finished.
    UnderWay(Bucket),
    /// The card's key does not open here.
    NotOurs,
    /// The card was moved away from the launcher's image.
    ImageLeftBehind,
    /// The host key's file cannot be replaced.
    File(String),
    /// The TPM that keeps the keys does not take another.
    Tpm(String),
    /// The host has no memory or randomness.
    Resources(String),
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::launch::{MAX_MESSAGE, Reply, Request};

    #[test]
    fn the_longest_messages_fit() {
        let wrapped_key = vec![0xFF; MAX_WRAPPED];
        let card = WrappedCard { card: [0xFF; 16], owner: [0xFF; 32], image: [0xFF; 32], wrapped_key };
        let reply = KeyReply::Rewrapped(vec![Some(card.wrapped_key.clone()); MAX_CARDS]);
        assert!(Reply::Keys(reply).encode().len() <= MAX_MESSAGE);
        assert!(Request::Keys(KeyRequest::Rewrap(vec![card; MAX_CARDS])).encode().len() <= MAX_MESSAGE);
        let all: Vec<_> = Bucket::all().collect();
        assert!(Request::Keys(KeyRequest::Rotate(all)).encode().len() <= MAX_MESSAGE);
        let keys = vec![WrappingKey { bucket: Bucket::VERSION_1, generation: u32::MAX }; BUCKETS];
        assert!(Reply::Keys(KeyReply::Rotated(keys)).encode().len() <= MAX_MESSAGE);
    }

    #[test]
    fn a_wrapped_key_says_what_it_is_wrapped_under() {
        let key = WrappingKey { bucket: Bucket(0xA7), generation: 0x0102_0304 };
        assert_eq!(WrappingKey::of(&[&key.prefix()[..], b"rest"].concat()), Some(key));
        assert_eq!(WrappingKey::of(&[1, 9]).map(|key| key.bucket), Some(Bucket::VERSION_1));
        assert_eq!(WrappingKey::of(&key.prefix()[..5]), None);
        assert_eq!(WrappingKey::of(&[3, 0, 0, 0, 0, 0]), None);
        assert_eq!(WrappingKey::of(&[]), None);
    }
}
