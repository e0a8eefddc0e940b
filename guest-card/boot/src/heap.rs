//! The heap: everything from the image's end to the end of memory, two-level segregated fit, erased when freed.
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

use rlsf::Tlsf;

use crate::single::Single;

/// Blocks from 32 bytes to 4 MiB in 18 classes of 16 steps.
type Pool = Tlsf<'static, u32, u16, 18, 16>;

struct Heap(Single<RefCell<Pool>>);

#[global_allocator]
static HEAP: Heap = Heap(Single::new(RefCell::new(Pool::new())));

unsafe extern "C" {
    /// First byte after the image (link.ld).
    static __image_end: u8;
}

/// Gives the heap its memory: from the image's end to `memory_end`.
pub(crate) fn set_up(memory_end: u64) {
    let start = &raw const __image_end as usize;
    let length = (memory_end as usize).saturating_sub(start);
    let start = NonNull::new(ptr::with_exposed_provenance_mut::<u8>(start)).expect("the image lies above 0");
    let block = NonNull::slice_from_raw_parts(start, length);
    // SAFETY: the host maps this range for nothing else (wire::boot) and this is the only call.
    unsafe { HEAP.0.borrow_mut().insert_free_block_ptr(block) };
}

// SAFETY: blocks come from the pool, which keeps them disjoint, aligned and at least as long as asked.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.borrow_mut().allocate(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives back a whole block of this layout, which nobody else holds.
        unsafe {
            ptr::write_bytes(block, 0, layout.size());
            // The optimiser must not see that nobody reads these zeros.
            hint::black_box(block);
            self.0.borrow_mut().deallocate(NonNull::new_unchecked(block), layout.align());
        }
    }
}
