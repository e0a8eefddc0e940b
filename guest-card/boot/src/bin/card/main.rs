//! The card: [`Card`] between the streams of one vsock device.
#![no_std]
#![no_main]

extern crate alloc;

mod machine;

use cardhost_boot::{
    entry,
    streams::{self, Event},
};
use cardhost_guest::{Card, self_test};

use machine::Machine;

/// Called by the entry point.
#[expect(unsafe_code, reason = "the entry point calls it by name")]
#[unsafe(no_mangle)]
extern "C" fn card_main(mmio_base: u64, memory_end: u64) -> ! {
    entry::set_up(mmio_base, memory_end);
    self_test::run().expect("known answers");
    let mut card = Card::new(Machine::new());
    loop {
        match card.platform_mut().next_event() {
            Event::Reset(port) => card.reset(port),
            Event::Message(stream, message) => {
                if let Some(answer) = card.transmit(stream.port, &message) {
                    // If the stream has closed meanwhile, nobody waits for the answer.
                    let _ = streams::with(|streams| streams.send(stream, &answer));
                }
            }
        }
    }
}
