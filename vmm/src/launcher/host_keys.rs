//! The host's wrapping keys: one for each bucket of cards, two while a rotation is under way
//! ([`cardhost_wire::wrapping`]).
//!
//! Format 2 of the file, which only the launcher reads; numbers are big-endian. Memory holds the same bytes. A host with
//! a TPM has them sealed ([`super::sealed_file`]).
//!
//! | bytes | what |
//! |---|---|
//! | 16 | `cardhost hostkey` |
//! | 2, 2 | version 2, number of buckets |
//! | 12 | zero |
//! | 32 | SHA-256 of everything else, which nobody can make who does not know the keys |
//! | 32 | the key of a file of version 1, zero if it is retired |
//! | 72 each | a bucket: generation (4), earlier generation or 0 (4), key (32), earlier key (32) |
//!
//! Version 1 was the bare key, 32 bytes, under which all cards' keys were wrapped.

mod error;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
    path::Path,
};

use cardhost_wire::{
    custody::Sealing,
    wrapping::{BUCKETS, Bucket, WrappingKey},
};
use nix::errno::Errno;
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use super::{
    card_key::{Key, erase_stack},
    key_file::{Exposed, KeyFile},
    sealed_file::{self, Found, SealError, SealedFile},
    secret_pages::SecretPages,
};
use crate::tpm::Tpm;
pub use error::{ChangeError, HostKeysError};

/// What every file but those of version 1 begins with.
pub(super) const MAGIC: &[u8; 16] = b"cardhost hostkey";
const VERSION: u16 = 2;
const DIGEST: Range<usize> = 32..64;
const VERSION_1: Range<usize> = 64..96;
const HEADER: usize = 96;
const ENTRY: usize = 72;
/// Bytes of the file.
pub const LENGTH: usize = HEADER + BUCKETS * ENTRY;
/// Bytes of a file of version 1.
const LENGTH_1: usize = 32;

/// The wrapping keys, in the one place where they stand.
pub struct HostKeys {
    keeper: Keeper,
    pages: SecretPages,
}

/// Where they stand between two starts.
enum Keeper {
    Plain(KeyFile),
    Sealed(SealedFile),
}

impl HostKeys {
    /// Reads the file, or makes it durably if there is none. A file of version 1 becomes one of the latest.
    ///
    /// # Errors
    /// See [`HostKeysError`].
    pub fn open(path: &Path) -> Result<Self, HostKeysError> {
        let failed = |source| HostKeysError::File { path: path.into(), source };
        let file = KeyFile::open(path).map_err(failed)?;
        let Some(content) = file.content().map_err(failed)? else {
            file.sweep().map_err(failed)?;
            return Self::plain(file, made().map_err(failed)?).map_err(failed);
        };
        let (content, length) = content.map_err(|Exposed| HostKeysError::Exposed { path: path.into() })?;
        if length == sealed_file::LENGTH as u64 {
            // What is beside it may be the one that the TPM opens.
            return Err(HostKeysError::Sealed { path: path.into() });
        }
        file.sweep().map_err(failed)?;
        let pages = load(content, length).map_err(failed)?;
        let pages = pages.ok_or_else(|| HostKeysError::Damaged { path: path.into() })?;
        match length == LENGTH as u64 {
            true => Ok(Self { keeper: Keeper::Plain(file), pages }),
            false => Self::plain(file, pages).map_err(failed),
        }
    }

    /// The same with a TPM.
    ///
    /// # Errors
    /// See [`HostKeysError`]; nothing is lost.
    pub fn open_with(path: &Path, sealing: Sealing, tpm: Tpm) -> Result<Self, HostKeysError> {
        let failed = |source| HostKeysError::File { path: path.into(), source };
        let of = |error| HostKeysError::of(path, error);
        let damaged = || HostKeysError::Damaged { path: path.into() };
        let file = KeyFile::open(path).map_err(failed)?;
        match (SealedFile::open(file, tpm).map_err(of)?, sealing) {
            (Found::Sealed(_, pages), _) if !is_whole(&pages) => Err(damaged()),
            (Found::Sealed(file, pages), Sealing::Kept | Sealing::Begun) => {
                Ok(Self { keeper: Keeper::Sealed(file), pages })
            }
            (Found::Sealed(file, pages), Sealing::Ended) => {
                let file = file.give_up(&pages).map_err(of)?;
                Ok(Self { keeper: Keeper::Plain(file), pages })
            }
            (Found::Nothing(file, tpm), Sealing::Kept | Sealing::Begun) => {
                Self::sealed(file, tpm, made().map_err(failed)?).map_err(of)
            }
            (Found::Plain(file, tpm), Sealing::Begun) => {
                let pages = Self::contents(&file).map_err(failed)?.ok_or_else(damaged)?;
                Self::sealed(file, tpm, pages).map_err(of)
            }
            (Found::Plain(..), Sealing::Kept) => Err(HostKeysError::NotSealed { path: path.into() }),
            (Found::Nothing(file, _) | Found::Plain(file, _), Sealing::Ended) => {
                drop(file);
                Self::open(path)
            }
        }
    }

    /// The file, if a TPM seals it.
    pub fn sealed_file(&mut self) -> Option<&mut SealedFile> {
        match &mut self.keeper {
            Keeper::Sealed(file) => Some(file),
            Keeper::Plain(_) => None,
        }
    }

    fn contents(file: &KeyFile) -> io::Result<Option<SecretPages>> {
        match file.content()? {
            Some(Ok((content, length))) => load(content, length),
            _ => Ok(None),
        }
    }

    fn plain(file: KeyFile, mut pages: SecretPages) -> io::Result<Self> {
        complete(&mut pages);
        file.replace(&pages)?;
        Ok(Self { keeper: Keeper::Plain(file), pages })
    }

    fn sealed(file: KeyFile, tpm: Tpm, mut pages: SecretPages) -> Result<Self, SealError> {
        complete(&mut pages);
        let file = SealedFile::make(file, tpm, &pages)?;
        Ok(Self { keeper: Keeper::Sealed(file), pages })
    }

    /// Why the keys may be swapped out, if they may.
    pub fn swappable(&self) -> Option<Errno> {
        self.pages.swappable
    }

    /// The bucket's present key, under which keys are wrapped.
    pub fn present(&self, bucket: Bucket) -> Option<(WrappingKey, &Key)> {
        let entry = self.entry(bucket)?;
        Some((WrappingKey { bucket, generation: entry.generation() }, entry.key()))
    }

    /// A key by its name, to open what is wrapped under it.
    pub fn find(&self, key: WrappingKey) -> Option<&Key> {
        if key.bucket == Bucket::VERSION_1 {
            return self.version_1();
        }
        let entry = self.entry(key.bucket)?;
        if key.generation == entry.generation() {
            return Some(entry.key());
        }
        (key.generation != 0 && key.generation == entry.earlier()).then(|| entry.earlier_key())
    }

    /// The buckets whose rotation is not finished; the key of version 1 is one of them until it is retired.
    pub fn under_way(&self) -> Vec<Bucket> {
        let rotating = |bucket: &Bucket| self.entry(*bucket).is_some_and(|entry| entry.earlier() != 0);
        let version_1 = self.version_1().map(|_| Bucket::VERSION_1);
        Bucket::all().filter(rotating).chain(version_1).collect()
    }

    /// Gives each of these buckets another generation beside its present one, durably.
    ///
    /// # Errors
    /// See [`ChangeError`]; nothing has changed.
    pub fn rotate(&mut self, buckets: &[Bucket]) -> Result<(), ChangeError> {
        self.change(buckets, Keeper::replace, |pages, bucket| {
            let entry = slots(pages, bucket).ok_or(ChangeError::NoSuchBucket(bucket))?;
            if Entry(entry).earlier() != 0 {
                return Err(ChangeError::UnderWay(bucket));
            }
            step(entry).map_err(ChangeError::Resources)
        })
    }

    /// Destroys the earlier generation of these buckets, durably: nothing that the host has from now on opens an earlier
    /// copy of the file, unless the file is all it has.
    ///
    /// # Errors
    /// See [`ChangeError`]; in memory nothing has changed, so that it can be asked for again.
    pub fn retire(&mut self, buckets: &[Bucket]) -> Result<(), ChangeError> {
        self.change(buckets, Keeper::replace_for_good, |pages, bucket| {
            if bucket == Bucket::VERSION_1 {
                pages[VERSION_1].zeroize();
                return Ok(());
            }
            let entry = slots(pages, bucket).ok_or(ChangeError::NoSuchBucket(bucket))?;
            entry[Entry::EARLIER].fill(0);
            entry[Entry::EARLIER_KEY].zeroize();
            Ok(())
        })
    }

    /// Changes a copy, which takes the place of the original when it is on disk.
    fn change(
        &mut self,
        buckets: &[Bucket],
        keep: impl FnOnce(&mut Keeper, &[u8]) -> Result<(), ChangeError>,
        change: impl Fn(&mut [u8], Bucket) -> Result<(), ChangeError>,
    ) -> Result<(), ChangeError> {
        let mut next = SecretPages::new(LENGTH).map_err(|error| ChangeError::Resources(error.into()))?;
        next.copy_from_slice(&self.pages);
        buckets.iter().try_for_each(|bucket| change(&mut next, *bucket))?;
        complete(&mut next);
        keep(&mut self.keeper, &next)?;
        self.pages = next;
        Ok(())
    }

    fn entry(&self, bucket: Bucket) -> Option<Entry<'_>> {
        self.pages.get(place(bucket)?).map(Entry)
    }

    fn version_1(&self) -> Option<&Key> {
        let key = key(&self.pages[VERSION_1]);
        key.iter().any(|byte| *byte != 0).then_some(key)
    }
}

impl Keeper {
    fn replace(&mut self, content: &[u8]) -> Result<(), ChangeError> {
        match self {
            Self::Plain(file) => file.replace(content).map_err(ChangeError::File),
            Self::Sealed(file) => file.replace(content).map_err(ChangeError::of),
        }
    }

    /// Whoever has an earlier copy of a plain file has the earlier content.
    fn replace_for_good(&mut self, content: &[u8]) -> Result<(), ChangeError> {
        match self {
            Self::Plain(file) => file.replace(content).map_err(ChangeError::File),
            Self::Sealed(file) => file.replace_for_good(content).map_err(ChangeError::of),
        }
    }
}

/// A bucket's bytes.
struct Entry<'a>(&'a [u8]);

impl<'a> Entry<'a> {
    const GENERATION: Range<usize> = 0..4;
    const EARLIER: Range<usize> = 4..8;
    const KEY: Range<usize> = 8..40;
    const EARLIER_KEY: Range<usize> = 40..72;

    fn generation(&self) -> u32 {
        number(&self.0[Self::GENERATION])
    }

    /// 0 if there is none.
    fn earlier(&self) -> u32 {
        number(&self.0[Self::EARLIER])
    }

    fn key(&self) -> &'a Key {
        key(&self.0[Self::KEY])
    }

    fn earlier_key(&self) -> &'a Key {
        key(&self.0[Self::EARLIER_KEY])
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().expect("four bytes"))
}

fn key(bytes: &[u8]) -> &Key {
    bytes.try_into().expect("32 bytes")
}

fn place(bucket: Bucket) -> Option<Range<usize>> {
    let number = usize::from(bucket.0);
    (number < BUCKETS).then(|| HEADER + number * ENTRY..HEADER + (number + 1) * ENTRY)
}

fn slots(pages: &mut [u8], bucket: Bucket) -> Option<&mut [u8]> {
    pages.get_mut(place(bucket)?)
}

/// The next generation of a bucket, its present one becomes the earlier.
fn step(entry: &mut [u8]) -> io::Result<()> {
    let generation = number(&entry[Entry::GENERATION]);
    let next = generation.checked_add(1).ok_or(io::ErrorKind::QuotaExceeded)?;
    entry.copy_within(Entry::KEY, Entry::EARLIER_KEY.start);
    entry[Entry::EARLIER].copy_from_slice(&generation.to_be_bytes());
    getrandom::fill(&mut entry[Entry::KEY])?;
    entry[Entry::GENERATION].copy_from_slice(&next.to_be_bytes());
    Ok(())
}

/// Keys from a plain file of any version, `None` if it is damaged.
fn load(mut content: File, length: u64) -> io::Result<Option<SecretPages>> {
    match usize::try_from(length) {
        Ok(LENGTH) => {
            let mut pages = SecretPages::new(LENGTH)?;
            content.read_exact(&mut pages)?;
            Ok(is_whole(&pages).then_some(pages))
        }
        Ok(LENGTH_1) => {
            let mut pages = made()?;
            content.read_exact(&mut pages[VERSION_1])?;
            Ok(Some(pages))
        }
        _ => Ok(None),
    }
}

/// New keys, not [`complete`] yet.
fn made() -> io::Result<SecretPages> {
    let mut pages = SecretPages::new(LENGTH)?;
    pages[..16].copy_from_slice(MAGIC);
    pages[16..18].copy_from_slice(&VERSION.to_be_bytes());
    pages[18..20].copy_from_slice(&(BUCKETS as u16).to_be_bytes());
    for entry in pages[HEADER..].chunks_exact_mut(ENTRY) {
        entry[Entry::GENERATION].copy_from_slice(&1_u32.to_be_bytes());
        getrandom::fill(&mut entry[Entry::KEY])?;
    }
    Ok(pages)
}

/// Makes the digest fit.
fn complete(pages: &mut SecretPages) {
    let digest = digest(pages);
    pages[DIGEST].copy_from_slice(&digest);
}

fn is_whole(pages: &[u8]) -> bool {
    let head = [&MAGIC[..], &VERSION.to_be_bytes(), &(BUCKETS as u16).to_be_bytes()].concat();
    pages.starts_with(&head) && digest(pages) == pages[DIGEST]
}

fn digest(pages: &[u8]) -> [u8; 32] {
    let digest = digest_with_traces(pages);
    erase_stack();
    digest
}

#[inline(never)]
fn digest_with_traces(pages: &[u8]) -> [u8; 32] {
    let (head, rest) = (&pages[..DIGEST.start], &pages[DIGEST.end..]);
    Sha256::new().chain_update(head).chain_update(rest).finalize().into()
}
