//! The stack that nobody uses any more.
//!
//! A fork gives the card's process a copy of the launcher's stack: what ciphers needed there, and what setting up the
//! card needed since. The run loop needs a fraction of it.
#![expect(unsafe_code, reason = "tells the kernel which part of the stack is unused")]

use std::ptr::NonNull;

use nix::sys::mman::{MmapAdvise, madvise};

const PAGE: usize = 4096;
/// More than anything before has used.
const DEEPEST: usize = 256 * 1024;

/// Gives the whole pages below the caller's part of the stack back; used again they are zeros.
#[inline(never)]
pub fn release() {
    let here = 0_u8;
    // What is called from here stands between this function's frame and the page below the next.
    let end = (&raw const here).addr() / PAGE * PAGE - PAGE;
    let Some(start) = NonNull::new(std::ptr::with_exposed_provenance_mut(end - DEEPEST)) else { return };
    // SAFETY: the stack grows down, so that nothing alive lies a page below this frame: the system call uses no stack
    // of the process, and its wrapper less than a page. Below the stack's mapping the kernel finds nothing and says so.
    let _ = unsafe { madvise(start, DEEPEST, MmapAdvise::MADV_DONTNEED) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn dive() -> usize {
        let deep = std::hint::black_box([0x5A_u8; 64 * 1024]);
        (&raw const deep).expose_provenance()
    }

    /// Where `dive` was.
    #[inline(never)]
    fn surface(address: usize) -> u8 {
        let pointer: *const u8 = std::ptr::with_exposed_provenance(address);
        // SAFETY: within this thread's stack, which is mapped; nothing alive is there that another could write.
        unsafe { pointer.read_volatile() }
    }

    #[test]
    fn what_was_on_the_stack_is_gone_and_what_is_in_use_stays() {
        let kept = std::hint::black_box([7_u8; 1024]);
        let deep = dive();
        assert_eq!(surface(deep + 1000), 0x5A);
        release();
        assert_eq!(surface(deep + 1000), 0);
        assert_eq!(std::hint::black_box(kept), [7; 1024]);
    }
}
