//! Card keys, wrapped with AES-256-GCM-SIV (RFC 8452) under a wrapping key of the host.
//!
//! | format | bytes |
//! |---|---|
//! | 1, opened only | 1, nonce (12), ciphertext (32), tag (16) |
//! | 2 | 2, bucket (1), generation (4), image policy ([`ImagePolicy::encode`]), nonce, ciphertext, tag |
//!
//! Associated data: a domain, card and owner; then the image (format 1), or all that stands before the nonce
//! (format 2). So a wrapped key opens for nothing else, and nobody can change what it says.

use aes_gcm_siv::{
    Aes256GcmSiv, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use cardhost_wire::{
    control::CardId,
    image_policy::{ImagePolicy, Measurement},
    wrapping::{Bucket, MAX_WRAPPED, PREFIX, WrappingKey},
};
use zeroize::{Zeroize, Zeroizing};

use super::host_keys::HostKeys;

const NONCE: usize = 12;
/// More stack than wrapping takes, bytes.
const STACK: usize = 32 * 1024;

/// An AES-256 key. Keys are borrowed from where they stand, and never copied but into their last place.
pub type Key = [u8; 32];

/// The wrapped key does not open: it is damaged, of another card or owner, or wrapped under a key that this host does
/// not have, or not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the wrapped card key does not open here")]
pub struct NotOurs;

/// Whose key it is.
#[derive(Clone, Copy)]
pub struct Holder<'a> {
    /// The card.
    pub card: &'a CardId,
    /// SHA-256 of the terminal's name.
    pub owner: &'a [u8; 32],
}

impl Holder<'_> {
    fn associated_data(self, domain: &[u8], rest: &[u8]) -> Vec<u8> {
        [domain, self.card, self.owner, rest].concat()
    }
}

/// Wraps a card key under the present key of the card's bucket, in the latest format.
///
/// # Errors
/// The system gave no random bytes.
pub fn wrap(
    keys: &HostKeys,
    holder: Holder<'_>,
    policy: &ImagePolicy,
    key: &Key,
) -> Result<Vec<u8>, getrandom::Error> {
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce)?;
    let (name, host) = keys.present(Bucket::of(holder.card)).expect("every card has a bucket");
    let wrapped = wrap_with(host, name, holder, policy, key, nonce);
    erase_stack();
    Ok(wrapped)
}

#[inline(never)]
fn wrap_with(
    host: &Key,
    name: WrappingKey,
    holder: Holder<'_>,
    policy: &ImagePolicy,
    key: &Key,
    nonce: [u8; NONCE],
) -> Vec<u8> {
    let mut wrapped = name.prefix().to_vec();
    policy.encode(&mut wrapped);
    let payload = Payload { msg: key, aad: &holder.associated_data(b"cardhost card key v2\0", &wrapped) };
    let sealed = cipher(host).encrypt(&Nonce::from(nonce), payload).expect("32 bytes are within the limit");
    wrapped.extend(nonce);
    wrapped.extend(sealed);
    wrapped
}

/// Opens a wrapped key into `key` and tells its image policy. For format 1, which has none, the policy is the one of a
/// card made with `image`.
///
/// # Errors
/// [`NotOurs`]; `key` is as it was.
pub fn unwrap(
    keys: &HostKeys,
    holder: Holder<'_>,
    image: Measurement,
    wrapped: &[u8],
    key: &mut Key,
) -> Result<ImagePolicy, NotOurs> {
    let name = WrappingKey::of(wrapped).filter(|_| wrapped.len() <= MAX_WRAPPED).ok_or(NotOurs)?;
    let host = keys.find(name).ok_or(NotOurs)?;
    if name.bucket == Bucket::VERSION_1 {
        let data = holder.associated_data(b"cardhost card key v1\0", &image);
        open(host, &wrapped[1..], &data, key)?;
        return Ok(ImagePolicy::of_new_card(image));
    }
    let (policy, sealed) = ImagePolicy::decode(&wrapped[PREFIX..]).ok_or(NotOurs)?;
    let head = &wrapped[..wrapped.len() - sealed.len()];
    open(host, sealed, &holder.associated_data(b"cardhost card key v2\0", head), key)?;
    Ok(policy)
}

fn open(host: &Key, sealed: &[u8], data: &[u8], key: &mut Key) -> Result<(), NotOurs> {
    let opened = open_with_traces(host, sealed, data, key);
    erase_stack();
    opened
}

#[inline(never)]
fn open_with_traces(host: &Key, sealed: &[u8], data: &[u8], key: &mut Key) -> Result<(), NotOurs> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE>().ok_or(NotOurs)?;
    let payload = Payload { msg: sealed, aad: data };
    let plain = Zeroizing::new(cipher(host).decrypt(&Nonce::from(*nonce), payload).map_err(|_| NotOurs)?);
    if plain.len() != key.len() {
        return Err(NotOurs);
    }
    key.copy_from_slice(&plain);
    Ok(())
}

fn cipher(host: &Key) -> Aes256GcmSiv {
    Aes256GcmSiv::new(host.into())
}

/// Ciphers and hashes erase themselves when they are dropped, but not the places from which they were moved: erases
/// the stack below the caller, where a fork would otherwise copy these from.
#[inline(never)]
pub(crate) fn erase_stack() {
    let mut used = [0_u8; STACK];
    used.zeroize();
    std::hint::black_box(&used);
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, os::unix::fs::OpenOptionsExt};

    use super::*;

    const CARD: CardId = [1; 16];
    const OWNER: [u8; 32] = [2; 32];
    const IMAGE: Measurement = [3; 32];
    const HOLDER: Holder<'static> = Holder { card: &CARD, owner: &OWNER };

    /// The keys of a file with these bytes; the file is gone with the folder.
    fn keys(file: &[u8]) -> (tempfile::TempDir, HostKeys) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host.key");
        let made = fs::File::options().write(true).create_new(true).mode(0o600).open(&path);
        made.unwrap().write_all(file).unwrap();
        let keys = HostKeys::open(&path).unwrap();
        (folder, keys)
    }

    fn opened(keys: &HostKeys, holder: Holder<'_>, wrapped: &[u8]) -> Result<(Key, ImagePolicy), NotOurs> {
        let mut key = [0; 32];
        unwrap(keys, holder, IMAGE, wrapped, &mut key).map(|policy| (key, policy))
    }

    fn policy() -> ImagePolicy {
        ImagePolicy::of_new_card(IMAGE)
    }

    /// What version 1 wrapped must open for ever.
    #[test]
    fn the_frozen_key_of_version_1_opens() {
        let (_folder, mut keys) = keys(&[4; 32]);
        let wrapped = include_bytes!("../../fixtures/card-key-v1.bin");
        assert_eq!(opened(&keys, HOLDER, wrapped), Ok(([5; 32], policy())));
        assert_eq!(unwrap(&keys, HOLDER, [9; 32], wrapped, &mut [0; 32]), Err(NotOurs));
        let anew = wrap(&keys, HOLDER, &policy(), &[5; 32]).unwrap();
        keys.retire(&[Bucket::VERSION_1]).unwrap();
        assert_eq!(opened(&keys, HOLDER, wrapped), Err(NotOurs));
        assert_eq!(opened(&keys, HOLDER, &anew), Ok(([5; 32], policy())));
    }

    /// What version 2 wrapped, under the keys of the frozen file, likewise.
    #[test]
    fn the_frozen_key_of_version_2_opens() {
        let (_folder, keys) = keys(include_bytes!("../../fixtures/host-key-v2.bin"));
        let wrapped = include_bytes!("../../fixtures/card-key-v2.bin");
        let name = WrappingKey { bucket: Bucket(1), generation: 6 };
        assert_eq!(wrap_with(&[0x16; 32], name, HOLDER, &policy(), &[5; 32], [6; NONCE]), wrapped);
        assert_eq!(opened(&keys, HOLDER, wrapped), Ok(([5; 32], policy())));
    }

    /// The same of a card that was moved to another image, with a third one allowed.
    #[test]
    fn the_frozen_key_of_a_settled_card_opens() {
        let (_folder, keys) = keys(include_bytes!("../../fixtures/host-key-v2.bin"));
        let wrapped = include_bytes!("../../fixtures/card-key-v2-settled.bin");
        let mut settled = policy();
        settled.settle([8; 32]).unwrap();
        settled.allow([9; 32]).unwrap();
        let name = WrappingKey { bucket: Bucket(1), generation: 6 };
        let anew = wrap_with(&[0x16; 32], name, HOLDER, &settled, &[5; 32], [7; NONCE]);
        assert_eq!(anew, wrapped);
        assert_eq!(opened(&keys, HOLDER, wrapped), Ok(([5; 32], settled)));
    }

    #[test]
    fn a_key_opens_only_for_its_holder_and_unchanged() {
        let (_folder, keys) = keys(&[4; 32]);
        let wrapped = wrap(&keys, HOLDER, &policy(), &[5; 32]).unwrap();
        assert_eq!(opened(&keys, HOLDER, &wrapped), Ok(([5; 32], policy())));
        let same_bucket = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 9];
        let others = [Holder { card: &same_bucket, ..HOLDER }, Holder { owner: &[9; 32], ..HOLDER }];
        for other in others {
            assert_eq!(opened(&keys, other, &wrapped), Err(NotOurs));
        }
        for at in 0..wrapped.len() {
            let mut changed = wrapped.clone();
            changed[at] ^= 1;
            assert_eq!(opened(&keys, HOLDER, &changed), Err(NotOurs));
            assert_eq!(opened(&keys, HOLDER, &wrapped[..at]), Err(NotOurs));
        }
    }

    #[test]
    fn no_key_that_the_host_still_has_opens_a_copy_from_before_a_rotation() {
        let (_folder, mut keys) = keys(&[4; 32]);
        let copy = wrap(&keys, HOLDER, &policy(), &[5; 32]).unwrap();
        keys.rotate(&[Bucket::of(&CARD)]).unwrap();
        let anew = wrap(&keys, HOLDER, &policy(), &[5; 32]).unwrap();
        assert_eq!(opened(&keys, HOLDER, &copy), Ok(([5; 32], policy())));
        keys.retire(&[Bucket::of(&CARD)]).unwrap();
        assert_eq!(opened(&keys, HOLDER, &copy), Err(NotOurs));
        assert_eq!(opened(&keys, HOLDER, &anew), Ok(([5; 32], policy())));
    }
}
