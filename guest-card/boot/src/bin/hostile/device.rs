//! Broken queues: the device is reset and given rings that no driver would write.
#![expect(unsafe_code, reason = "writes device registers and rings by hand")]

use core::{
    ptr::{with_exposed_provenance_mut, write_volatile},
    sync::atomic::{Ordering, fence},
};

use cardhost_boot::{fault, single::Once};
use cardhost_wire::boot::{MEMORY_SIZE, MMIO_BASE, QUEUE_SIZE, TX_QUEUE};

/// Register offsets (VIRTIO 1.3, 4.2.2).
const DRIVER_FEATURES: u64 = 0x20;
const DRIVER_FEATURES_SEL: u64 = 0x24;
const QUEUE_SEL: u64 = 0x30;
const QUEUE_NUM: u64 = 0x38;
const QUEUE_READY: u64 = 0x44;
const QUEUE_NOTIFY: u64 = 0x50;
const STATUS: u64 = 0x70;
const QUEUE_DESC: u64 = 0x80;
const QUEUE_DRIVER: u64 = 0x90;
const QUEUE_DEVICE: u64 = 0xA0;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// A descriptor (VIRTIO 1.3, 2.7.5).
#[derive(Clone, Copy)]
#[repr(C)]
struct Descriptor {
    address: u64,
    length: u32,
    flags: u16,
    next: u16,
}

#[repr(C)]
struct Available {
    flags: u16,
    index: u16,
    ring: [u16; QUEUE_SIZE as usize],
}

#[repr(C, align(4096))]
struct Rings {
    descriptors: [Descriptor; QUEUE_SIZE as usize],
    available: Available,
    used: [u64; 8],
    packet: [u8; 4096],
}

const NOTHING: Descriptor = Descriptor { address: 0, length: 0, flags: 0, next: 0 };

static RINGS: Once<Rings> = Once::new(Rings {
    descriptors: [NOTHING; QUEUE_SIZE as usize],
    available: Available { flags: 0, index: 0, ring: [0; QUEUE_SIZE as usize] },
    used: [0; 8],
    packet: [0xFF; 4096],
});

/// Gives the device a broken transmit queue and notifies it:
///
/// | kind | broken |
/// |---|---|
/// | 0 | a buffer outside memory |
/// | 1 | a buffer that ends outside memory |
/// | 2 | a chain that is a circle |
/// | 3 | a chain that leaves the table |
/// | 4 | a buffer that the device should write |
/// | 5 | an indirect table, which was not negotiated |
/// | 6 | an available index far ahead |
/// | 7 | a head outside the table |
/// | 8 | a packet shorter than its header |
/// | 9 | a packet of garbage: foreign context ids, giant length |
/// | 10 | rings outside memory |
/// | 11 | a queue of no descriptors |
pub fn break_queue(kind: u8) {
    let Some(rings) = RINGS.claim() else { fault::end() };
    let packet = rings.packet.as_ptr().expose_provenance() as u64;
    let good = Descriptor { address: packet, length: 4096, ..NOTHING };
    rings.available.index = 1;
    rings.descriptors[0] = match kind {
        0 => Descriptor { address: u64::MAX - 4095, ..good },
        1 => Descriptor { address: MEMORY_SIZE - 100, ..good },
        2 => Descriptor { flags: NEXT, next: 0, ..good },
        3 => Descriptor { flags: NEXT, next: QUEUE_SIZE + 5, ..good },
        4 => Descriptor { flags: WRITE, ..good },
        5 => Descriptor { flags: INDIRECT, ..good },
        8 => Descriptor { length: 43, ..good },
        _ => good,
    };
    match kind {
        6 => rings.available.index = 0x8000,
        7 => rings.available.ring[0] = QUEUE_SIZE + 1,
        _ => {}
    }
    present(rings, kind);
    for _ in 0..16 {
        write(QUEUE_NOTIFY, u32::from(TX_QUEUE));
    }
    fault::end()
}

/// Writes to a register that means nothing, for ever.
pub fn exits() {
    loop {
        write(0xF00, 0);
    }
}

fn present(rings: &Rings, kind: u8) {
    let base = match kind {
        10 => MEMORY_SIZE,
        _ => (&raw const *rings).expose_provenance() as u64,
    };
    write(STATUS, 0);
    write(STATUS, 3);
    write(DRIVER_FEATURES_SEL, 1);
    write(DRIVER_FEATURES, 1);
    write(STATUS, 11);
    write(QUEUE_SEL, u32::from(TX_QUEUE));
    write(QUEUE_NUM, if kind == 11 { 0 } else { u32::from(QUEUE_SIZE) });
    for (register, offset) in [(QUEUE_DESC, 0), (QUEUE_DRIVER, 64), (QUEUE_DEVICE, 80)] {
        write(register, (base + offset) as u32);
        write(register + 4, 0);
    }
    write(QUEUE_READY, 1);
    write(STATUS, 15);
    // The rings are in memory before the first notification, although the program itself never reads them.
    fence(Ordering::SeqCst);
}

fn write(register: u64, value: u32) {
    let address = with_exposed_provenance_mut::<u32>((MMIO_BASE + register) as usize);
    // SAFETY: the device's page is mapped at this address for the guest's whole life (wire::boot).
    unsafe { write_volatile(address, value) };
}
