//! Everything that a guest can write: registers, rings, descriptors and packets, between acts of the daemon.
#![no_main]

#[path = "../../tests/device/driver.rs"]
mod driver;

use arbitrary::Arbitrary;
use cardhost_vmm::device::packet::{Header, Operation};
use cardhost_wire::port::{GUEST_CID, HOST_CID};
use driver::{HOST_PORT, MEMORY, PORT, QUEUE_SIZE, Step, buffer, drive};
use libfuzzer_sys::fuzz_target;

/// Longer sequences find no more but take longer.
const MOST_STEPS: usize = 128;
/// More would wait longer than the daemon's bound allows.
const MOST_DATA: u16 = 20_000;

#[derive(Arbitrary, Debug)]
enum Act {
    Register(u16, u32),
    Memory(u16, Vec<u8>),
    Descriptor {
        queue: bool,
        at: u8,
        address: Address,
        length: u32,
        flags: u8,
        next: u8,
    },
    Offer {
        queue: bool,
        head: u8,
        by: u8,
    },
    Packet {
        at: u8,
        operation: u8,
        length: u16,
        buf_alloc: u32,
        fwd_cnt: u32,
    },
    Send {
        at: u8,
        ports: (u32, u32),
        operation: u16,
        length: u32,
        credit: (u32, u32),
        cids: (u64, u64),
        kind: u16,
    },
    Room,
    Transmit,
    Receive,
    Open,
    Data(u16),
    Close,
}

#[derive(Arbitrary, Debug)]
enum Address {
    Buffer(u8),
    Anywhere(u64),
}

fuzz_target!(|acts: Vec<Act>| {
    drive(acts.into_iter().take(MOST_STEPS).map(step).collect());
});

fn step(act: Act) -> Step {
    match act {
        Act::Register(offset, value) => Step::Register(u64::from(offset) % 0x200, value),
        Act::Memory(address, bytes) => Step::Memory(u64::from(address) % MEMORY as u64, bytes),
        Act::Descriptor { queue, at, address, length, flags, next } => Step::Descriptor {
            queue: queue.into(),
            at: u16::from(at) % QUEUE_SIZE,
            address: place(address),
            length,
            flags: flags.into(),
            next: next.into(),
        },
        Act::Offer { queue, head, by } => {
            Step::Offer { queue: queue.into(), head: head.into(), by: by.into() }
        }
        Act::Packet { at, operation, length, buf_alloc, fwd_cnt } => {
            let (host_port, guest_port, operation) = (HOST_PORT, PORT.number(), Operation(operation.into()));
            let length = length.into();
            let header = Header { host_port, guest_port, length, operation, buf_alloc, fwd_cnt };
            Step::Send { at: u16::from(at) % QUEUE_SIZE, header, cids: (GUEST_CID, HOST_CID), kind: 1 }
        }
        Act::Send { at, ports: (host_port, guest_port), operation, length, credit, cids, kind } => {
            let ((buf_alloc, fwd_cnt), operation) = (credit, Operation(operation));
            let header = Header { host_port, guest_port, length, operation, buf_alloc, fwd_cnt };
            Step::Send { at: u16::from(at) % QUEUE_SIZE, header, cids, kind }
        }
        Act::Room => Step::Room,
        Act::Transmit => Step::Transmit,
        Act::Receive => Step::Receive,
        Act::Open => Step::Open,
        Act::Data(length) => Step::Data((length % MOST_DATA).into()),
        Act::Close => Step::Close,
    }
}

fn place(address: Address) -> u64 {
    match address {
        Address::Buffer(at) => buffer(u64::from(at % 8)),
        Address::Anywhere(address) => address,
    }
}
