//! What the card OS needs from below: a durable store and a source of hardware randomness.

use cardhost_wire::control::Commit;

/// The host did not store the change and never will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotCommitted;

/// The machine under the card OS. The bare-metal binary implements it over the control stream; tests over memory.
pub trait Platform {
    /// Returns once the change is durable at the host, or certainly is not.
    ///
    /// # Errors
    /// [`NotCommitted`]: nothing of the change was stored.
    fn commit(&mut self, commit: Commit) -> Result<(), NotCommitted>;

    /// Sixty-four bits of the processor's generator (RDRAND), if it has one and it delivers.
    fn hardware_random(&mut self) -> Option<u64>;
}
