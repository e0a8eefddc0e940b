//! The end of a card that panics: its last words go to the control stream if they can, then it faults, and the
//! host sees where.
#![expect(unsafe_code, reason = "ends the guest by an undefined instruction")]

use alloc::string::String;
use core::{
    arch::asm,
    fmt::{self, Write},
    panic::PanicInfo,
    sync::atomic::{AtomicBool, Ordering},
};

use cardhost_wire::control::GuestMessage;

use crate::streams;

/// Longest text of a panic, bytes.
const LONGEST: usize = 512;

/// Faults: the host ends the card.
pub fn end() -> ! {
    // SAFETY: UD2 raises #UD; with no IDT the vCPU shuts down and does not come back.
    unsafe { asm!("ud2", options(noreturn, nomem, nostack)) }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    static PANICKED: AtomicBool = AtomicBool::new(false);
    // A panic on the way out, for example for want of memory, has nothing left to try.
    if !PANICKED.swap(true, Ordering::Relaxed) {
        let mut text = Text(String::new());
        let _ = write!(text, "{info}");
        streams::last_words(&GuestMessage::Panic(text.0).encode());
    }
    end()
}

/// A text that stops growing at [`LONGEST`].
struct Text(String);

impl Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = LONGEST.saturating_sub(self.0.len());
        self.0.extend(part.chars().scan(room, |room, character| {
            *room = room.checked_sub(character.len_utf8())?;
            Some(character)
        }));
        Ok(())
    }
}
