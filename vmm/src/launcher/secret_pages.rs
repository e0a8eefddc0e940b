//! Memory for keys: kept out of swap and dumps, and not inherited by the cards' processes.
#![expect(unsafe_code, reason = "maps pages with properties that no allocator gives")]

use std::{
    ffi::c_void,
    num::NonZeroUsize,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    slice,
};

use nix::{
    errno::Errno,
    sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mlock, mmap_anonymous, munmap},
};
use zeroize::Zeroize;

const PAGE: usize = 4096;

/// Pages that hold secrets; erased when dropped.
pub struct SecretPages {
    pages: NonNull<c_void>,
    /// Bytes in use, not 0.
    length: usize,
    /// Why the pages may be swapped out, if they may.
    pub swappable: Option<Errno>,
}

impl SecretPages {
    /// Pages with this many bytes, all zero.
    ///
    /// # Errors
    /// The system has no memory, or `length` is 0. That it does not lock the pages is no error, but is told.
    pub fn new(length: usize) -> nix::Result<Self> {
        let mapped = mapped(length).ok_or(Errno::EINVAL)?;
        let (read_write, private) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE);
        // SAFETY: a new mapping at a place of the kernel's choice touches no other.
        let pages = unsafe { mmap_anonymous(None, mapped, read_write, private) }?;
        let mut new = Self { pages, length, swappable: None };
        for property in [MmapAdvise::MADV_DONTFORK, MmapAdvise::MADV_DONTDUMP] {
            // SAFETY: the pages were mapped above. After a fork they exist in the launcher alone, and a card's process
            // never reaches for them: it has the launcher by shared reference only to read other fields.
            unsafe { madvise(pages, mapped.get(), property) }?;
        }
        // SAFETY: the pages were mapped above.
        new.swappable = unsafe { mlock(pages, mapped.get()) }.err();
        Ok(new)
    }
}

/// Whole pages for this many bytes.
fn mapped(length: usize) -> Option<NonZeroUsize> {
    NonZeroUsize::new(length.checked_next_multiple_of(PAGE)?)
}

impl Deref for SecretPages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the pages are mapped, initialised with zeros by the kernel, at least `length` bytes and owned by
        // this value.
        unsafe { slice::from_raw_parts(self.pages.as_ptr().cast(), self.length) }
    }
}

impl DerefMut for SecretPages {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and this is the only reference.
        unsafe { slice::from_raw_parts_mut(self.pages.as_ptr().cast(), self.length) }
    }
}

impl Drop for SecretPages {
    fn drop(&mut self) {
        self.zeroize();
        let mapped = mapped(self.length).expect("checked when mapped");
        // SAFETY: this value owns the pages, and no reference to them is left. A failure leaves pages of zeros.
        let _ = unsafe { munmap(self.pages, mapped.get()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_in_their_pages() {
        let mut pages = SecretPages::new(2 * PAGE + 1).unwrap();
        assert_eq!((pages.len(), pages.iter().any(|byte| *byte != 0)), (2 * PAGE + 1, false));
        pages.fill(7);
        assert_eq!(pages[2 * PAGE], 7);
        assert!(SecretPages::new(0).is_err());
    }
}
