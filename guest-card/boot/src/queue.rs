//! Packets through the receive and the transmit queue, polled, on virtio-drivers' split virtqueue.
//!
//! The buffers of a queue share one page, and stand with the rings at the beginning of the heap: a host pays for the
//! pages that its cards write. What is longer than a buffer goes in several. The device owns a buffer from `add` to
//! `pop_used` and nobody reads it meanwhile.
#![expect(unsafe_code, reason = "shares memory with the device")]

use alloc::{
    alloc::{Layout, alloc_zeroed},
    boxed::Box,
};
use core::ptr::{self, NonNull};

use cardhost_wire::boot::{QUEUE_SIZE, RX_QUEUE, TX_QUEUE};
use virtio_drivers::{
    BufferDirection, Hal, PAGE_SIZE, PhysAddr,
    queue::VirtQueue,
    transport::{DeviceStatus, Transport},
};

use crate::{
    packet::{HEADER, Header},
    registers::Registers,
};

const BUFFERS: usize = QUEUE_SIZE as usize;
const VIRTIO_F_VERSION_1: u64 = 1 << 32;
/// Bytes of a buffer: those of a queue, and what the heap keeps about them, fit into one page.
const LONGEST_PACKET: usize = PAGE_SIZE / BUFFERS - 8;
/// Longest payload of a packet that the guest sends.
pub const MAX_PAYLOAD: usize = LONGEST_PACKET - HEADER;

type Buffers = [[u8; LONGEST_PACKET]; BUFFERS];
type Queue = VirtQueue<Identity, BUFFERS>;

/// The receive side: all buffers are the device's but the one that is being read.
pub struct Receiver {
    queue: Queue,
    buffers: Box<Buffers>,
    /// Which buffer each token stands for.
    tokens: [u16; BUFFERS],
}

/// The transmit side, and the device's registers.
pub struct Transmitter {
    registers: Registers,
    queue: Queue,
    buffers: Box<Buffers>,
    /// The token and length of each buffer that the device has.
    sent: [Option<(u16, usize)>; BUFFERS],
}

/// Initialises the device (VIRTIO 1.3, 3.1.1), which is fresh from reset. To be called once; a host that offers
/// another interface is refused by a panic.
pub fn set_up(mmio_base: u64) -> (Receiver, Transmitter) {
    let mut registers = Registers::at(mmio_base);
    let so_far = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER;
    registers.set_status(so_far);
    assert_ne!(registers.read_device_features() & VIRTIO_F_VERSION_1, 0);
    registers.write_driver_features(VIRTIO_F_VERSION_1);
    registers.set_status(so_far | DeviceStatus::FEATURES_OK);
    let rx = Queue::new(&mut registers, RX_QUEUE, false, false).expect("the device has a receive queue");
    let tx = Queue::new(&mut registers, TX_QUEUE, false, false).expect("the device has a transmit queue");
    let receiver = Receiver::new(rx);
    registers.finish_init();
    (receiver, Transmitter::new(registers, tx))
}

impl Receiver {
    fn new(queue: Queue) -> Self {
        let buffers = Box::new([[0; LONGEST_PACKET]; BUFFERS]);
        let mut receiver = Self { queue, buffers, tokens: [0; BUFFERS] };
        for index in 0..BUFFERS {
            receiver.give(index);
        }
        receiver
    }

    /// Hands each received packet to `take` and its buffer back to the device.
    pub fn drain(&mut self, mut take: impl FnMut(&Header, &[u8])) {
        while let Some(token) = self.queue.peek_used() {
            let index = self.tokens.iter().position(|known| *known == token).expect("a token we gave");
            let buffer = &mut self.buffers[index];
            // SAFETY: the token was returned by `give` for exactly this buffer, which is untouched since.
            let written = unsafe { self.queue.pop_used(token, &[], &mut [&mut buffer[..]]) };
            let written = (written.expect("the token is next") as usize).min(LONGEST_PACKET);
            if let Some((header, payload)) = Header::parse(&buffer[..written]) {
                take(&header, payload);
            }
            // A PIN may have been in it.
            buffer[..written].fill(0);
            self.give(index);
        }
    }

    fn give(&mut self, index: usize) {
        let buffer = &mut self.buffers[index];
        // SAFETY: the buffer lives as long as the queue and nobody touches it until `drain` pops its token.
        let token = unsafe { self.queue.add(&[], &mut [&mut buffer[..]]) };
        self.tokens[index] = token.expect("as many descriptors as buffers");
    }
}

impl Transmitter {
    fn new(registers: Registers, queue: Queue) -> Self {
        let buffers = Box::new([[0; LONGEST_PACKET]; BUFFERS]);
        Self { registers, queue, buffers, sent: [None; BUFFERS] }
    }

    /// Queues a packet; the host sees it at the next notification. `payload` is [`MAX_PAYLOAD`] at most.
    pub fn send(&mut self, header: Header, payload: &[u8]) {
        let index = self.free_buffer();
        let length = HEADER + payload.len();
        let buffer = &mut self.buffers[index];
        buffer[..HEADER].copy_from_slice(&header.to_bytes());
        buffer[HEADER..length].copy_from_slice(payload);
        // SAFETY: the buffer lives as long as the queue, and `sent` keeps it from use until its token is popped.
        let token = unsafe { self.queue.add(&[&buffer[..length]], &mut []) };
        self.sent[index] = Some((token.expect("as many descriptors as buffers"), length));
    }

    /// Tells the host that there is nothing to do, and waits until it has delivered something.
    pub fn wait(&mut self) {
        self.registers.notify(RX_QUEUE);
    }

    /// Has the host take what is queued, at once.
    pub fn flush(&mut self) {
        self.registers.notify(TX_QUEUE);
    }

    fn free_buffer(&mut self) -> usize {
        loop {
            self.reclaim();
            if let Some(free) = self.sent.iter().position(Option::is_none) {
                return free;
            }
            self.flush();
        }
    }

    fn reclaim(&mut self) {
        while let Some(token) = self.queue.peek_used() {
            let ours = |slot: &Option<(u16, usize)>| slot.is_some_and(|(known, _)| known == token);
            let index = self.sent.iter().position(ours).expect("a token we gave");
            let (_, length) = self.sent[index].take().expect("found above");
            let buffer = &self.buffers[index];
            // SAFETY: the token was returned for exactly this part of this buffer.
            unsafe { self.queue.pop_used(token, &[&buffer[..length]], &mut []) }.expect("the token is next");
        }
    }
}

/// Guest-physical addresses are the guest's addresses.
struct Identity;

// SAFETY: the allocator's blocks are zeroed, whole pages, aligned to them and nobody else's; they are never freed;
// addresses are identity-mapped.
unsafe impl Hal for Identity {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let layout = Layout::from_size_align(pages * PAGE_SIZE, PAGE_SIZE).expect("a few pages");
        // SAFETY: a queue's rings are never empty.
        let first = NonNull::new(unsafe { alloc_zeroed(layout) }).expect("room for the rings");
        (first.as_ptr().expose_provenance() as PhysAddr, first)
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        // The queues live as long as the guest.
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::new(ptr::with_exposed_provenance_mut(address as usize)).expect("the device is not at 0")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr().expose_provenance() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}
