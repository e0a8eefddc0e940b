//! A guest that turns on its host: it starts like a card, then does what a command tells it to.
//!
//! The command is `80 INS P1 00` on an APDU port, `INS` an [`Act`](act::Act). An act that returns is a hole: the
//! answer is then `9000`, and a test that sees it has found one. No act but [`act::Act::CodeSegment`] may return.
#![no_std]
#![no_main]

extern crate alloc;

mod act;
mod device;

use alloc::vec::Vec;

use cardhost_boot::{
    entry,
    streams::{self, Event, Stream},
};
use cardhost_wire::{
    apdu::CommandApdu,
    control::{Failure, GuestMessage, HostMessage, Started},
    port::Port,
    status::Status,
};

/// A minimal ATR: T=1 only.
const ATR: [u8; 4] = [0x3B, 0x80, 0x01, 0x81];

/// Called by the entry point.
#[expect(unsafe_code, reason = "the entry point calls it by name")]
#[unsafe(no_mangle)]
extern "C" fn card_main(mmio_base: u64, memory_end: u64) -> ! {
    entry::set_up(mmio_base, memory_end);
    loop {
        if let Event::Message(stream, message) = streams::with(|streams| streams.next_event())
            && let Some(answer) = answer(stream, &message)
        {
            let _ = streams::with(|streams| streams.send(stream, &answer));
        }
    }
}

fn answer(stream: Stream, message: &[u8]) -> Option<Vec<u8>> {
    match stream.port {
        Port::Control => control(HostMessage::decode(message).ok()?).map(|answer| answer.encode()),
        Port::Apdu(_) => Some(apdu(stream, message)),
    }
}

fn control(message: HostMessage) -> Option<GuestMessage> {
    match message {
        HostMessage::Start(_) => {
            Some(GuestMessage::Started(Started { atr: ATR.to_vec(), epoch: 0, credentials: Vec::new() }))
        }
        HostMessage::Command(number, _) => Some(GuestMessage::Answer(number, Err(Failure::Policy))),
        _ => None,
    }
}

fn apdu(stream: Stream, message: &[u8]) -> Vec<u8> {
    let Ok(command) = CommandApdu::parse(message) else { return Status::WRONG_LENGTH.to_bytes().to_vec() };
    let Some(act) = act::Act::from_instruction(command.ins) else {
        return Status::INSTRUCTION_NOT_SUPPORTED.to_bytes().to_vec();
    };
    let mut answer = act.perform(stream, command.p1);
    answer.extend(Status::SUCCESS.to_bytes());
    answer
}
