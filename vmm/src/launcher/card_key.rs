//! Card keys, wrapped under the host key with AES-256-GCM-SIV (RFC 8452).
//!
//! Format version 1: version byte, random nonce of 12 bytes, 32 bytes of ciphertext, tag of 16. Associated data:
//! the domain, card, owner and image policy, so that a wrapped key opens for nothing else.

use aes_gcm_siv::{
    Aes256GcmSiv, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use cardhost_wire::control::CardId;
use zeroize::{Zeroize, Zeroizing};

const VERSION: u8 = 1;
const NONCE: usize = 12;
/// More stack than wrapping takes, bytes.
const STACK: usize = 32 * 1024;

/// An AES-256 key. Keys are borrowed from where they stand, and never copied but into their last place.
pub type Key = [u8; 32];

/// The wrapped key does not open: it is damaged, of another card or owner, for another image, or wrapped under
/// another host key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the wrapped card key does not open here")]
pub struct NotOurs;

/// What a card key is good for.
pub struct Purpose<'a> {
    /// The card.
    pub card: &'a CardId,
    /// SHA-256 of the terminal's name.
    pub owner: &'a [u8; 32],
    /// The image that may have the key: its SHA-256.
    pub image_policy: &'a [u8; 32],
}

impl Purpose<'_> {
    fn associated_data(&self) -> Vec<u8> {
        [b"cardhost card key v1\0", &self.card[..], self.owner, self.image_policy].concat()
    }
}

/// Wraps a card key.
///
/// # Errors
/// The system gave no random bytes.
pub fn wrap(host: &Key, purpose: &Purpose<'_>, key: &Key) -> Result<Vec<u8>, getrandom::Error> {
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce)?;
    let wrapped = wrap_with(host, purpose, key, nonce);
    erase_stack();
    Ok(wrapped)
}

#[inline(never)]
fn wrap_with(host: &Key, purpose: &Purpose<'_>, key: &Key, nonce: [u8; NONCE]) -> Vec<u8> {
    let payload = Payload { msg: key, aad: &purpose.associated_data() };
    let sealed = cipher(host).encrypt(&Nonce::from(nonce), payload).expect("32 bytes are within the limit");
    [&[VERSION][..], &nonce, &sealed].concat()
}

/// Opens a wrapped key into `key`.
///
/// # Errors
/// [`NotOurs`]; `key` is as it was.
pub fn unwrap(host: &Key, purpose: &Purpose<'_>, wrapped: &[u8], key: &mut Key) -> Result<(), NotOurs> {
    let opened = open(host, purpose, wrapped, key);
    erase_stack();
    opened
}

#[inline(never)]
fn open(host: &Key, purpose: &Purpose<'_>, wrapped: &[u8], key: &mut Key) -> Result<(), NotOurs> {
    let Some((&VERSION, rest)) = wrapped.split_first() else { return Err(NotOurs) };
    let (nonce, sealed) = rest.split_first_chunk::<NONCE>().ok_or(NotOurs)?;
    let payload = Payload { msg: sealed, aad: &purpose.associated_data() };
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

/// The cipher erases itself when it is dropped, but not the places from which its round keys were moved: erases the
/// stack below the caller, where a fork would otherwise copy them from.
#[inline(never)]
fn erase_stack() {
    let mut used = [0_u8; STACK];
    used.zeroize();
    std::hint::black_box(&used);
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: CardId = [1; 16];
    const OWNER: [u8; 32] = [2; 32];
    const IMAGE: [u8; 32] = [3; 32];

    fn purpose() -> Purpose<'static> {
        Purpose { card: &CARD, owner: &OWNER, image_policy: &IMAGE }
    }

    const HOST: Key = [4; 32];

    fn opened(host: &Key, purpose: &Purpose<'_>, wrapped: &[u8]) -> Result<Key, NotOurs> {
        let mut key = [0; 32];
        unwrap(host, purpose, wrapped, &mut key).map(|()| key)
    }

    /// What version 1 wrapped must open for ever.
    #[test]
    fn the_frozen_key_of_version_1_opens() {
        let wrapped = include_bytes!("../../fixtures/card-key-v1.bin");
        assert_eq!(wrap_with(&HOST, &purpose(), &[5; 32], [6; NONCE]), wrapped);
        assert_eq!(opened(&HOST, &purpose(), wrapped), Ok([5; 32]));
    }

    #[test]
    fn a_key_opens_only_for_its_purpose() {
        let wrapped = wrap(&HOST, &purpose(), &[5; 32]).unwrap();
        let other_card = Purpose { card: &[9; 16], ..purpose() };
        let other_owner = Purpose { owner: &[9; 32], ..purpose() };
        let other_image = Purpose { image_policy: &[9; 32], ..purpose() };
        for other in [other_card, other_owner, other_image] {
            assert_eq!(opened(&HOST, &other, &wrapped), Err(NotOurs));
        }
        assert_eq!(opened(&[9; 32], &purpose(), &wrapped), Err(NotOurs));
        for end in 0..wrapped.len() {
            assert_eq!(opened(&HOST, &purpose(), &wrapped[..end]), Err(NotOurs));
        }
    }
}
