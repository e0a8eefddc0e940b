//! The heap: a near part beside the stack and the program's variables, and a far one from the image's end to the end
//! of memory; erased when freed. The allocator takes the smallest free block that fits, and so the far part only when
//! the near one is full: what a card writes stands together, in few pages.
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
    /// Room that the image leaves for the near part (link.ld).
    static __near_heap: u8;
    static __near_heap_end: u8;
    /// First byte after the image.
    static __image_end: u8;
}

/// Gives the heap its memory; the far part ends at `memory_end`.
pub(crate) fn set_up(memory_end: u64) {
    let [near, near_end, far] = [&raw const __near_heap, &raw const __near_heap_end, &raw const __image_end];
    claim(near as usize, near_end as usize);
    claim(far as usize, memory_end as usize);
}

fn claim(start: usize, end: usize) {
    let memory = Span::from_base_size(ptr::with_exposed_provenance_mut(start), end.saturating_sub(start));
    // SAFETY: image and host leave both ranges to the heap (link.ld, wire::boot), and each is claimed once.
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
