//! RDRAND (Intel SDM, volume 1, 7.3.17): one of the two sources of the card's generator, never the only one.
#![expect(unsafe_code, reason = "RDRAND and CPUID are instructions")]

use core::{
    arch::{asm, x86_64::__cpuid},
    cell::OnceCell,
};

use crate::single::Single;

/// Intel's recommendation for a transient underflow.
const RETRIES: usize = 10;

// CPUID leaves the guest and costs as much as a round trip: asked once.
static AVAILABLE: Single<OnceCell<bool>> = Single::new(OnceCell::new());

/// Asks the processor whether it has RDRAND.
pub fn detect() -> bool {
    *AVAILABLE.get_or_init(|| __cpuid(1).ecx & 1 << 30 != 0)
}

/// Sixty-four bits from the processor, or `None` if it has no RDRAND or the instruction keeps failing.
pub fn hardware_random() -> Option<u64> {
    if detect() { rdrand() } else { None }
}

fn rdrand() -> Option<u64> {
    (0..RETRIES).find_map(|_| {
        let (word, ready): (u64, u8);
        // SAFETY: the processor has RDRAND; the instruction writes one register and the flags.
        unsafe { asm!("rdrand {}", "setc {}", out(reg) word, out(reg_byte) ready, options(nomem, nostack)) };
        (ready == 1).then_some(word)
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_draws_differ() {
        if let Some(first) = super::hardware_random() {
            assert_ne!(Some(first), super::hardware_random());
        }
    }
}
