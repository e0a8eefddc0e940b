//! One page of memory for the host key: kept out of swap and dumps, and not inherited by the cards' processes.
#![expect(unsafe_code, reason = "maps a page with properties that no allocator gives")]

use std::{
    ffi::c_void,
    num::NonZeroUsize,
    ops::{Deref, DerefMut},
    ptr::NonNull,
};

use nix::{
    errno::Errno,
    sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mlock, mmap_anonymous, munmap},
};
use zeroize::Zeroize;

use super::host_key::LENGTH;

const PAGE: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// A page that holds one key.
pub struct SecretPage {
    page: NonNull<c_void>,
    /// Why the page may be swapped out, if it may.
    pub swappable: Option<Errno>,
}

impl SecretPage {
    /// A page with a key of zeros.
    ///
    /// # Errors
    /// The system has no memory. That it does not lock the page is no error, but is told.
    pub fn new() -> nix::Result<Self> {
        let (read_write, private) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE);
        // SAFETY: a new mapping at a place of the kernel's choice touches no other.
        let page = unsafe { mmap_anonymous(None, PAGE, read_write, private) }?;
        let mut new = Self { page, swappable: None };
        for property in [MmapAdvise::MADV_DONTFORK, MmapAdvise::MADV_DONTDUMP] {
            // SAFETY: the page was mapped above. After a fork it exists in the launcher alone, and a card's process
            // never reaches for it: it has the launcher by shared reference only to read other fields.
            unsafe { madvise(page, PAGE.get(), property) }?;
        }
        // SAFETY: the page was mapped above.
        new.swappable = unsafe { mlock(page, PAGE.get()) }.err();
        Ok(new)
    }
}

impl Deref for SecretPage {
    type Target = [u8; LENGTH];

    fn deref(&self) -> &Self::Target {
        // SAFETY: the page is mapped, aligned, initialised with zeros by the kernel, longer than the key and owned
        // by this value.
        unsafe { self.page.cast().as_ref() }
    }
}

impl DerefMut for SecretPage {
    fn deref_mut(&mut self) -> &mut Self::Target {
        // SAFETY: as above, and this is the only reference.
        unsafe { self.page.cast().as_mut() }
    }
}

impl Drop for SecretPage {
    fn drop(&mut self) {
        self.zeroize();
        // SAFETY: this value owns the page, and no reference to it is left. A failure leaves a page of zeros.
        let _ = unsafe { munmap(self.page, PAGE.get()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_in_its_page() {
        let mut page = SecretPage::new().unwrap();
        assert_eq!(*page, [0; LENGTH]);
        page.fill(7);
        assert_eq!(*page, [7; LENGTH]);
    }
}
