//! Sealing of one record: AES-256-GCM-SIV (RFC 8452) with a random nonce.
//!
//! Misuse-resistant, so that even a repeated nonce (a card woken twice from one state with a broken generator)
//! reveals only equality of plaintexts. Layout of format version 1:
//!
//! ```text
//! 0         1          13
//! ├─────────┼──────────┼────────────┬─────┤
//! │ version │ nonce 12 │ ciphertext │ tag │
//! ```
//!
//! Associated data: domain (record or head) and version, card, owner, image policy, record number.

use alloc::vec::Vec;

use aes_gcm_siv::{
    Aes256GcmSiv, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use cardhost_wire::control::{Launch, RecordId, Refusal};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

/// The only format so far.
const VERSION: u8 = 1;
const NONCE: usize = 12;
/// Bytes of the authentication tag at the end of a sealed record.
pub const TAG: usize = 16;
/// By how much a sealed record is longer than its plaintext.
pub(super) const OVERHEAD: usize = 1 + NONCE + TAG;

/// What a sealed state is bound to.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// The card's identity.
    pub card: [u8; 16],
    /// SHA-256 of the terminal's name.
    pub owner: [u8; 32],
    /// The image policy under which the card key was unwrapped.
    pub image_policy: [u8; 32],
}

/// The card key together with what it is bound to.
pub struct SealKey {
    cipher: Aes256GcmSiv,
    binding: Binding,
}

impl SealKey {
    /// The key that a launch brings.
    pub fn from_launch(launch: &Launch) -> Self {
        let binding = Binding { card: launch.card, owner: launch.owner, image_policy: launch.image_policy };
        Self { cipher: Aes256GcmSiv::new(&launch.card_key.into()), binding }
    }

    /// Seals a record, or the head if `id` is `None`.
    pub(super) fn seal(&self, id: Option<RecordId>, plain: &[u8], rng: &mut impl CryptoRng) -> Vec<u8> {
        let mut nonce = [0; NONCE];
        rng.fill_bytes(&mut nonce);
        let payload = Payload { msg: plain, aad: &self.associated_data(id) };
        let ciphertext = self.cipher.encrypt(&Nonce::from(nonce), payload).expect("records are short");
        [&[VERSION][..], &nonce, &ciphertext].concat()
    }

    /// Opens what [`Self::seal`] made for the same `id`.
    pub(super) fn open(&self, id: Option<RecordId>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        let (version, rest) = sealed.split_first().ok_or(Refusal::NotAuthentic)?;
        if *version != VERSION {
            return Err(Refusal::UnknownFormat);
        }
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE>().ok_or(Refusal::NotAuthentic)?;
        let payload = Payload { msg: ciphertext, aad: &self.associated_data(id) };
        let plain = self.cipher.decrypt(&Nonce::from(*nonce), payload).map_err(|_| Refusal::NotAuthentic)?;
        Ok(Zeroizing::new(plain))
    }

    fn associated_data(&self, id: Option<RecordId>) -> Vec<u8> {
        let Binding { card, owner, image_policy } = &self.binding;
        let domain = if id.is_some() { b'R' } else { b'H' };
        [&[domain, VERSION][..], card, owner, image_policy, &id.unwrap_or(0).to_le_bytes()].concat()
    }
}
