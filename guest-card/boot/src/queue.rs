//! Packets through the receive and the transmit queue, polled, on virtio-drivers' split virtqueue.
//!
//! The buffers are statics, one page each, reused in order of their number: a card in steady state touches one
//! transmit page. The device owns a buffer from `add` to `pop_used` and nobody reads it meanwhile.
#![expect(unsafe_code, reason = "shares memory with the device")]

use core::{
    ptr::{self, NonNull},
    sync::atomic::{AtomicUsize, Ordering},
};

use cardhost_wire::boot::{MAX_PACKET, QUEUE_SIZE, RX_QUEUE, TX_QUEUE};
use virtio_drivers::{
    BufferDirection, Hal, PAGE_SIZE, PhysAddr,
    queue::VirtQueue,
    transport::{DeviceStatus, Transport},
};

use crate::{
    packet::{HEADER, Header},
    registers::Registers,
    single::{Once, Single},
};

const BUFFERS: usize = QUEUE_SIZE as usize;
const VIRTIO_F_VERSION_1: u64 = 1 << 32;
/// Longest payload of a packet.
pub const MAX_PAYLOAD: usize = MAX_PACKET - HEADER;

#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Page([u8; PAGE_SIZE]);

impl Page {
    const ZERO: Self = Self([0; PAGE_SIZE]);
}

type Buffers = [Page; BUFFERS];
type Queue = VirtQueue<Identity, BUFFERS>;

static RX_BUFFERS: Once<Buffers> = Once::new([Page::ZERO; BUFFERS]);
static TX_BUFFERS: Once<Buffers> = Once::new([Page::ZERO; BUFFERS]);
/// Two pages of rings for each of the two queues.
static RINGS: Once<[Page; 4]> = Once::new([Page::ZERO; 4]);

/// The receive side: all buffers are the device's but the one that is being read.
pub struct Receiver {
    queue: Queue,
    buffers: &'static mut Buffers,
    /// Which buffer each token stands for.
    tokens: [u16; BUFFERS],
}

/// The transmit side, and the device's registers.
pub struct Transmitter {
    registers: Registers,
    queue: Queue,
    buffers: &'static mut Buffers,
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
        let buffers = RX_BUFFERS.claim().expect("one receiver");
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
            let page = &mut self.buffers[index].0;
            // SAFETY: the token was returned by `give` for exactly this buffer, which is untouched since.
            let written = unsafe { self.queue.pop_used(token, &[], &mut [&mut page[..MAX_PACKET]]) };
            let written = (written.expect("the token is next") as usize).min(MAX_PACKET);
            if let Some((header, payload)) = Header::parse(&page[..written]) {
                take(&header, payload);
            }
            // A PIN may have been in it.
            page[..written].fill(0);
            self.give(index);
        }
    }

    fn give(&mut self, index: usize) {
        let page = &mut self.buffers[index].0;
        // SAFETY: the buffer is a static and nobody touches it until `drain` pops its token.
        let token = unsafe { self.queue.add(&[], &mut [&mut page[..MAX_PACKET]]) };
        self.tokens[index] = token.expect("as many descriptors as buffers");
    }
}

impl Transmitter {
    fn new(registers: Registers, queue: Queue) -> Self {
        let buffers = TX_BUFFERS.claim().expect("one transmitter");
        Self { registers, queue, buffers, sent: [None; BUFFERS] }
    }

    /// Queues a packet; the host sees it at the next notification. `payload` is [`MAX_PAYLOAD`] at most.
    pub fn send(&mut self, header: Header, payload: &[u8]) {
        let index = self.free_buffer();
        let length = HEADER + payload.len();
        let page = &mut self.buffers[index].0;
        page[..HEADER].copy_from_slice(&header.to_bytes());
        page[HEADER..length].copy_from_slice(payload);
        // SAFETY: the buffer is a static, and `sent` keeps it from use until its token is popped.
        let token = unsafe { self.queue.add(&[&page[..length]], &mut []) };
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
            let page = &self.buffers[index].0;
            // SAFETY: the token was returned for exactly this part of this buffer.
            unsafe { self.queue.pop_used(token, &[&page[..length]], &mut []) }.expect("the token is next");
        }
    }
}

/// Guest-physical addresses are the guest's addresses.
struct Identity;

// SAFETY: rings come from a static that is handed out once, page by page; addresses are identity-mapped.
unsafe impl Hal for Identity {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let first = ring_pages(pages);
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

fn ring_pages(pages: usize) -> NonNull<u8> {
    static FIRST: Single<core::cell::OnceCell<NonNull<[Page; 4]>>> = Single::new(core::cell::OnceCell::new());
    static USED: AtomicUsize = AtomicUsize::new(0);
    let rings = FIRST.get_or_init(|| NonNull::from(RINGS.claim().expect("claimed here only")));
    let at = USED.fetch_add(pages, Ordering::Relaxed);
    assert!(at + pages <= 4, "two queues of two pages");
    // SAFETY: `at` lies within the four pages.
    unsafe { rings.cast::<Page>().add(at) }.cast()
}
