//! How the card process starts the guest, and how the guest waits: addresses, registers, notifications.
//!
//! ```text
//! 0                       null page, page tables: the guest reads and writes nothing here
//! STACK_TOP - STACK_SIZE  guard page below, then the stack, rw-
//! DATA_BASE               the ELF's writable segments, rw-, then the heap, rw-, to HEAP_END
//! HEAP_END                the other segments, each with its own rights, none writable, to MEMORY_SIZE
//! MMIO_BASE               one virtio-mmio vsock device, one page
//! ```
//!
//! A segment without write access that has whole spans of 2 MiB for itself is mapped by large pages: all cards of a
//! host then share one, and a card has it after one fault.
//!
//! The entry point runs in 64-bit CPL3 with `rdi` = [`MMIO_BASE`], `rsi` = [`HEAP_END`], `rsp` = [`STACK_TOP`],
//! SSE (and AVX, where the host has it) enabled, interrupts never. Addresses are identity-mapped.
//!
//! The device offers only `VIRTIO_F_VERSION_1`, queues of at least [`QUEUE_SIZE`]. The guest uses queue 0 (receive)
//! and 1 (transmit) and leaves the event queue unset: its only event is a reset of all streams, and a card whose
//! streams are reset is started anew. No packet, header included, is longer than [`MAX_PACKET`] in either
//! direction. After set-up the guest's only exits are two writes to `QueueNotify`:
//!
//! | written | meaning | the card process |
//! |---|---|---|
//! | 0 ([`RX_QUEUE`]) | idle: everything received was handled, receive buffers are back | drains the transmit queue, then blocks until it has delivered at least one packet |
//! | 1 ([`TX_QUEUE`]) | the transmit queue is full, or the guest is about to end, and has more to do | drains the transmit queue and returns at once |

/// Guest memory, bytes, from address 0 in one slot.
pub const MEMORY_SIZE: u64 = 6 << 20;
/// Lowest address of the image, where its writable segments are: right above the stack, so that the pages that a card
/// writes all the time are neighbours.
pub const DATA_BASE: u64 = STACK_TOP;
/// End of everything writable.
pub const HEAP_END: u64 = 2 << 20;
/// Initial stack pointer, 16-byte aligned. Three pages above a boundary of 32 KiB: KVM's shadow paging maps a page
/// together with its neighbours from such a boundary on, and the start of a card needs three.
pub const STACK_TOP: u64 = 0x7_B000;
/// Bytes of the stack; an unmapped guard page lies below.
pub const STACK_SIZE: u64 = 236 << 10;
/// Address of the virtio-mmio device.
pub const MMIO_BASE: u64 = 0xD000_0000;
/// Bytes of the device's registers and configuration space (VIRTIO 1.3, 4.2.2).
pub const MMIO_SIZE: u64 = 0x1000;
/// Descriptors per queue.
pub const QUEUE_SIZE: u16 = 4;
/// Longest vsock packet, its 44-byte header included.
pub const MAX_PACKET: usize = 4096;
/// The receive queue (VIRTIO 1.3, 5.10.2).
pub const RX_QUEUE: u16 = 0;
/// The transmit queue.
pub const TX_QUEUE: u16 = 1;
