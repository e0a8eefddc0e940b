//! The card.
#![no_std]
#![no_main]

#[expect(unsafe_code, reason = "the entry point calls it by name")]
#[unsafe(no_mangle)]
extern "C" fn card_main(mmio_base: u64, memory_end: u64) -> ! {
    cardhost_boot::entry::set_up(mmio_base, memory_end);
    cardhost_boot::fault::end()
}
