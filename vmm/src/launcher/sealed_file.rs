//! The wrapping keys in a file that only one TPM opens, and of which it never opens an earlier copy again.
//!
//! The file is sealed with AES-256-GCM-SIV (RFC 8452) under a key that stands in an NV index of the TPM, and nowhere on
//! a disk. When something in it is destroyed for good, so is that key: another takes its place in the TPM.
//!
//! ```text
//! replace:           sealed under the same key ─▶ takes F's place
//! replace_for_good:  another key ─▶ F.new sealed under it, durable ─▶ in the TPM over the earlier one ─▶ F.new becomes F
//!                                       a crash here: F is valid ──┴── a crash here: F.new is valid
//! ```
//!
//! Which of F and F.new is valid the TPM tells: it opens one of them. Until it has told, both are kept.
//!
//! Format 3 of the host key's file; numbers are big-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 16 | `cardhost hostkey` |
//! | 2, 2 | version 3, zero |
//! | 4 | NV index of the key |
//! | 12 | nonce, random |
//! | 18,528 | format 2 of the file, encrypted |
//! | 16 | authentication tag; what stands before the ciphertext is associated data |

use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
};

use aes_gcm_siv::{Aes256GcmSiv, KeyInit, Nonce, Tag, aead::AeadInOut};
use cardhost_wire::custody::KEPT;
use nix::errno::Errno;
use zeroize::Zeroize;

use super::{
    card_key::{Key, erase_stack},
    host_keys::{LENGTH as CONTENT, MAGIC},
    key_file::{Exposed, KeyFile},
    secret_pages::SecretPages,
};
use crate::tpm::{NvIndex, Tpm, TpmError};

const VERSION: [u8; 4] = [0, 3, 0, 0];
const INDEX: Range<usize> = 20..24;
const NONCE: Range<usize> = 24..36;
const SEALED: Range<usize> = 36..36 + CONTENT;
/// Bytes of the file.
pub const LENGTH: usize = SEALED.end + 16;
/// Bytes of the key in the TPM.
const KEY: u16 = 32;
/// NV indices that the TCG leaves to a TPM's owner (Registry of Reserved TPM 2.0 Handles, 2.2.2). The key has an even
/// one, and what else is kept the next.
const OWNERS: Range<u32> = 0x0180_0000..0x01C0_0000;
/// Places that are tried for a new key: a collision is rare, many are not chance.
const ATTEMPTS: usize = 16;

/// Why sealed keys cannot be had, or not be replaced.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The file.
    #[error("the host key's file")]
    File(#[from] io::Error),
    /// Others may read the file.
    #[error("the host key's file is readable by others")]
    Exposed,
    /// The TPM.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The key in the TPM does not open the file.
    #[error("the key in the TPM does not open the host key's file")]
    Closed,
    /// The system gives no memory.
    #[error("no memory for keys")]
    Memory(#[from] Errno),
}

/// The file with the TPM that opens it.
pub struct SealedFile {
    file: KeyFile,
    tpm: Tpm,
    place: Place,
    /// The TPM may have this key or the one that F.new is sealed under.
    uncertain: bool,
}

/// A key, and where in the TPM it stands.
struct Place {
    index: NvIndex,
    key: SecretPages,
}

/// What a file is found to be.
pub enum Found {
    /// There is none.
    Nothing(KeyFile, Tpm),
    /// It is not sealed.
    Plain(KeyFile, Tpm),
    /// It is sealed, and this is its content.
    Sealed(SealedFile, SecretPages),
}

/// Reads a file that is sealed; `None` if this one is not.
///
/// # Errors
/// It cannot be read, or there is no memory.
pub fn read(mut file: File, length: u64) -> io::Result<Option<SecretPages>> {
    if length != LENGTH as u64 {
        return Ok(None);
    }
    let mut pages = SecretPages::new(LENGTH)?;
    file.read_exact(&mut pages)?;
    Ok(pages.starts_with(&[&MAGIC[..], &VERSION].concat()).then_some(pages))
}

impl SealedFile {
    /// Finds out what the file is, and what a crash left beside it.
    ///
    /// # Errors
    /// See [`SealError`]; nothing has changed.
    pub fn open(file: KeyFile, mut tpm: Tpm) -> Result<Found, SealError> {
        Ok(match settle(&file, &mut tpm)? {
            Settled::Nothing => Found::Nothing(file, tpm),
            Settled::Plain => Found::Plain(file, tpm),
            Settled::Sealed(place, content) => {
                Found::Sealed(Self { file, tpm, place, uncertain: false }, content)
            }
        })
    }

    /// Seals this content for the first time, in the place of a file that may be there.
    ///
    /// # Errors
    /// See [`SealError`]; the file is as it was.
    pub fn make(file: KeyFile, mut tpm: Tpm, content: &[u8]) -> Result<Self, SealError> {
        for _ in 0..ATTEMPTS {
            let place = Place::random()?;
            // Before the NV index is made, so that a crash leaves none that nobody knows of.
            file.stage(&place.seal(content)?)?;
            match tpm.define(place.index, KEY) {
                Err(TpmError::Defined(_)) => {}
                defined => {
                    defined?;
                    tpm.write(place.index, &place.key)?;
                    file.promote()?;
                    return Ok(Self { file, tpm, place, uncertain: false });
                }
            }
        }
        Err(TpmError::Defined(NvIndex(OWNERS.start)).into())
    }

    /// Makes this the content, durably, under the present key.
    ///
    /// # Errors
    /// See [`SealError`]. The content is the earlier one or this one then.
    pub fn replace(&mut self, content: &[u8]) -> Result<(), SealError> {
        self.settle()?;
        Ok(self.file.replace(&self.place.seal(content)?)?)
    }

    /// Makes this the content, durably; no copy of the file from before opens any more.
    ///
    /// # Errors
    /// See [`SealError`]. The content is the earlier one or this one then.
    pub fn replace_for_good(&mut self, content: &[u8]) -> Result<(), SealError> {
        self.settle()?;
        let next = Place { index: self.place.index, key: random_key()? };
        self.file.stage(&next.seal(content)?)?;
        self.uncertain = true;
        self.tpm.write(next.index, &next.key)?;
        self.place = next;
        self.file.promote()?;
        self.uncertain = false;
        Ok(())
    }

    /// Gives the file up for a plain one with this content, and removes what the TPM had of it.
    ///
    /// # Errors
    /// See [`SealError`].
    pub fn give_up(mut self, content: &[u8]) -> Result<KeyFile, SealError> {
        self.file.replace(content)?;
        self.tpm.undefine(self.place.index)?;
        match self.tpm.undefine(self.place.index.beside()) {
            Ok(()) | Err(TpmError::NotDefined(_)) => Ok(self.file),
            Err(error) => Err(error.into()),
        }
    }

    /// What the TPM keeps for the daemon, `None` before the first.
    ///
    /// # Errors
    /// The TPM.
    pub fn kept(&mut self) -> Result<Option<[u8; KEPT]>, TpmError> {
        let mut value = [0; KEPT];
        match self.tpm.read(self.place.index.beside(), &mut value) {
            Ok(()) => Ok(Some(value)),
            Err(TpmError::NotDefined(_) | TpmError::Unwritten(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Has the TPM keep this, durably, in the place of what it kept.
    ///
    /// # Errors
    /// The TPM.
    pub fn keep(&mut self, value: &[u8; KEPT]) -> Result<(), TpmError> {
        let index = self.place.index.beside();
        match self.tpm.write(index, value) {
            Err(TpmError::NotDefined(_)) => {
                self.tpm.define(index, KEPT as u16)?;
                self.tpm.write(index, value)
            }
            written => written,
        }
    }

    /// Asks the TPM which file is valid, if that is not known.
    fn settle(&mut self) -> Result<(), SealError> {
        if self.uncertain {
            match settle(&self.file, &mut self.tpm)? {
                Settled::Sealed(place, _) => self.place = place,
                Settled::Nothing | Settled::Plain => return Err(SealError::Closed),
            }
            self.uncertain = false;
        }
        Ok(())
    }
}

enum Settled {
    Nothing,
    Plain,
    Sealed(Place, SecretPages),
}

/// Tries F.new and F, and removes F.new only when it is known which is valid.
fn settle(file: &KeyFile, tpm: &mut Tpm) -> Result<Settled, SealError> {
    let staged = match file.staged()? {
        Some((staged, length)) => read(staged, length)?,
        None => None,
    };
    let mut empty = None;
    if let Some(mut pages) = staged {
        match Place::opening(tpm, &mut pages) {
            Ok((place, content)) => {
                file.promote()?;
                return Ok(Settled::Sealed(place, content));
            }
            Err(SealError::Tpm(TpmError::Unwritten(index))) => empty = Some(index),
            Err(SealError::Tpm(TpmError::NotDefined(_)) | SealError::Closed) => {}
            Err(error) => return Err(error),
        }
    }
    let settled = present(file, tpm)?;
    // A first sealing that broke off before the TPM had the key.
    if let (Some(index), Settled::Nothing | Settled::Plain) = (empty, &settled) {
        tpm.undefine(index)?;
    }
    file.sweep()?;
    Ok(settled)
}

fn present(file: &KeyFile, tpm: &mut Tpm) -> Result<Settled, SealError> {
    let (content, length) = match file.content()? {
        None => return Ok(Settled::Nothing),
        Some(Err(Exposed)) => return Err(SealError::Exposed),
        Some(Ok(found)) => found,
    };
    match read(content, length)? {
        None => Ok(Settled::Plain),
        Some(mut pages) => {
            let (place, content) = Place::opening(tpm, &mut pages)?;
            Ok(Settled::Sealed(place, content))
        }
    }
}

impl NvIndex {
    /// The one that the daemon's value has.
    const fn beside(self) -> Self {
        Self(self.0 | 1)
    }
}

impl Place {
    fn random() -> Result<Self, SealError> {
        let mut number = [0; 4];
        getrandom::fill(&mut number).map_err(io::Error::from)?;
        let among = u32::from_be_bytes(number) % (OWNERS.end - OWNERS.start);
        Ok(Self { index: NvIndex((OWNERS.start + among) & !1), key: random_key()? })
    }

    /// The place that a sealed file names, if its key opens it, and the content.
    fn opening(tpm: &mut Tpm, sealed: &mut SecretPages) -> Result<(Self, SecretPages), SealError> {
        let index = NvIndex(u32::from_be_bytes(sealed[INDEX].try_into().expect("four bytes")));
        let mut place = Self { index, key: SecretPages::new(usize::from(KEY))? };
        tpm.read(index, &mut place.key)?;
        unseal(place.key(), sealed)?;
        let mut content = SecretPages::new(CONTENT)?;
        content.copy_from_slice(&sealed[SEALED]);
        Ok((place, content))
    }

    /// The file's bytes with this content.
    fn seal(&self, content: &[u8]) -> Result<SecretPages, SealError> {
        let mut nonce = [0; 12];
        getrandom::fill(&mut nonce).map_err(io::Error::from)?;
        Ok(seal(self.index, self.key(), nonce, content)?)
    }

    fn key(&self) -> &Key {
        self.key[..].try_into().expect("as long as a key")
    }
}

fn random_key() -> Result<SecretPages, SealError> {
    let mut key = SecretPages::new(usize::from(KEY))?;
    getrandom::fill(&mut key).map_err(io::Error::from)?;
    Ok(key)
}

fn seal(index: NvIndex, key: &Key, nonce: [u8; 12], content: &[u8]) -> Result<SecretPages, Errno> {
    let mut pages = SecretPages::new(LENGTH)?;
    pages[..16].copy_from_slice(MAGIC);
    pages[16..20].copy_from_slice(&VERSION);
    pages[INDEX].copy_from_slice(&index.0.to_be_bytes());
    pages[NONCE].copy_from_slice(&nonce);
    pages[SEALED].copy_from_slice(content);
    let (head, sealed) = pages.split_at_mut(SEALED.start);
    let (body, tag) = sealed.split_at_mut(CONTENT);
    let made = Aes256GcmSiv::new(key.into()).encrypt_inout_detached(&Nonce::from(nonce), head, body.into());
    tag.copy_from_slice(&made.expect("the content is within the limit"));
    erase_stack();
    Ok(pages)
}

/// Decrypts the content where it stands.
fn unseal(key: &Key, pages: &mut [u8]) -> Result<(), SealError> {
    let nonce: [u8; 12] = pages[NONCE].try_into().expect("twelve bytes");
    let (head, sealed) = pages.split_at_mut(SEALED.start);
    let (body, tag) = sealed.split_at_mut(CONTENT);
    let tag: [u8; 16] = (*tag).try_into().expect("sixteen bytes");
    let cipher = Aes256GcmSiv::new(key.into());
    let opened =
        cipher.decrypt_inout_detached(&Nonce::from(nonce), head, (&mut *body).into(), &Tag::from(tag));
    drop(cipher);
    erase_stack();
    opened.map_err(|_| {
        body.zeroize();
        SealError::Closed
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: NvIndex = NvIndex(0x0180_1234);
    const FROZEN: &[u8] = include_bytes!("../../fixtures/host-key-v3.bin");

    fn frozen() -> SecretPages {
        let mut pages = SecretPages::new(LENGTH).unwrap();
        pages.copy_from_slice(FROZEN);
        pages
    }

    /// What version 3 sealed must open for ever.
    #[test]
    fn the_frozen_file_of_version_3_opens() {
        let content = include_bytes!("../../fixtures/host-key-v2.bin");
        let mut pages = frozen();
        unseal(&[9; 32], &mut pages).unwrap();
        assert!(pages[SEALED] == content[..]);
        assert!(seal(PLACE, &[9; 32], [7; 12], content).unwrap()[..] == *FROZEN);
    }

    #[test]
    fn a_changed_file_and_another_key_are_told() {
        assert!(matches!(unseal(&[8; 32], &mut frozen()), Err(SealError::Closed)));
        for at in [0, 17, 19, INDEX.start, NONCE.start, SEALED.start, SEALED.end - 1, SEALED.end, LENGTH - 1]
        {
            let mut pages = frozen();
            pages[at] ^= 1;
            assert!(matches!(unseal(&[9; 32], &mut pages), Err(SealError::Closed)), "{at}");
            assert!(pages[SEALED].iter().all(|byte| *byte == 0));
        }
    }
}
