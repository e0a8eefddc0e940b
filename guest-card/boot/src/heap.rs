//! The heap: everything from the image's end to the end of memory, erased when freed.
//!
//! Erasing on free costs little beside the exchange and keeps keys and PINs that a library copied from staying
//! behind. Blocks are placed low first, so that a card touches few pages.
#![expect(unsafe_code, reason = "an allocator hands out raw memory")]

use core::{
    alloc::{GlobalAlloc, Layout},
    cell::RefCell,
    hint,
    ptr::{self, NonNull},
};

use talc::{ErrOnOom, Span, Talc};

use crate::single::Single;

struct Heap(Single<RefCell<Talc<ErrOnOom>>>);

#[global_allocator]
static HEAP: Heap = Heap(Single::new(RefCell::new(Talc::new(ErrOnOom))));

unsafe extern "C" {
    /// First byte after the image (link.ld).
    static __image_end: u8;
}

/// Gives the heap its memory: from the image's end to `memory_end`.
pub(crate) fn set_up(memory_end: u64) {
    let start = &raw const __image_end as usize;
    let length = (memory_end as usize).saturating_sub(start);
    let memory = Span::from_base_size(ptr::with_exposed_provenance_mut(start), length);
    // SAFETY: the host maps this range for nothing else (wire::boot) and this is the only call.
    let claimed = unsafe { HEAP.0.borrow_mut().claim(memory) };
    claimed.expect("room for a heap");
}

// SAFETY: blocks come from the pool, which keeps them disjoint, aligned and at least as long as asked.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller asks for at least one byte (GlobalAlloc's contract).
        unsafe { self.0.borrow_mut().malloc(layout) }.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives back a whole block of this layout, which nobody else holds.
        unsafe {
            ptr::write_bytes(block, 0, layout.size());
            // The optimiser must not see that nobody reads these zeros.
            hint::black_box(block);
            self.0.borrow_mut().free(NonNull::new_unchecked(block), layout);
        }
    }
}
