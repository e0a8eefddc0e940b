//! The registers of virtio-mmio version 2 (VIRTIO 1.3, 4.2.2) for one vsock device without interrupts.

use cardhost_wire::port::GUEST_CID;
use virtio_queue::{Queue, QueueT};

const MAGIC: u32 = u32::from_le_bytes(*b"virt");
const VERSION: u32 = 2;
const VSOCK: u32 = 19;
const VENDOR: u32 = u32::from_le_bytes(*b"CARD");
const VIRTIO_F_VERSION_1: u64 = 1 << 32;
const DRIVER_OK: u32 = 1 << 2;
/// Longest queue offered. The driver uses fewer.
const MAX_QUEUE: u16 = 16;

/// Receive, transmit and event queue.
pub const QUEUES: usize = 3;

/// The device's registers and queues.
pub struct Transport {
    queues: [Queue; QUEUES],
    selected_queue: u32,
    device_feature_word: u32,
    driver_feature_word: u32,
    driver_features: u64,
    status: u32,
}

impl Clone for Transport {
    fn clone(&self) -> Self {
        let copy = |queue: &Queue| Queue::try_from(queue.state()).expect("the state of a queue");
        Self { queues: self.queues.each_ref().map(copy), ..*self }
    }
}

/// What a register write asks for beyond the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// The driver rang this queue's doorbell.
    Notify(u32),
}

impl Default for Transport {
    fn default() -> Self {
        let queue = || Queue::new(MAX_QUEUE).expect("a power of two");
        Self {
            queues: [queue(), queue(), queue()],
            selected_queue: 0,
            device_feature_word: 0,
            driver_feature_word: 0,
            driver_features: 0,
            status: 0,
        }
    }
}

impl Transport {
    /// The queue with this number once the driver has set it up and is ready.
    pub fn ready_queue(&mut self, number: u16) -> Option<&mut Queue> {
        let running = self.status & DRIVER_OK != 0 && self.driver_features == VIRTIO_F_VERSION_1;
        self.queues.get_mut(usize::from(number)).filter(|queue| running && queue.ready())
    }

    /// A register as the driver reads it; unknown ones are 0.
    pub fn read(&self, offset: u64) -> u32 {
        let queue = self.queues.get(self.selected_queue as usize);
        match offset {
            0x000 => MAGIC,
            0x004 => VERSION,
            0x008 => VSOCK,
            0x00C => VENDOR,
            0x010 => word(VIRTIO_F_VERSION_1, self.device_feature_word),
            0x034 => queue.map_or(0, |queue| queue.max_size().into()),
            0x044 => queue.map_or(0, |queue| queue.ready().into()),
            0x070 => self.status,
            0x100 => word(GUEST_CID, 0),
            0x104 => word(GUEST_CID, 1),
            _ => 0,
        }
    }

    /// The driver writes a register; unknown ones are ignored.
    pub fn write(&mut self, offset: u64, value: u32) -> Effect {
        match offset {
            0x014 => self.device_feature_word = value,
            0x024 => self.driver_feature_word = value,
            0x020 => self.accept_features(value),
            0x030 => self.selected_queue = value,
            0x050 => return Effect::Notify(value),
            0x070 => self.set_status(value),
            0x038 | 0x044 | 0x080..=0x0A4 => self.configure_queue(offset, value),
            _ => {}
        }
        Effect::None
    }

    fn accept_features(&mut self, value: u32) {
        match self.driver_feature_word {
            0 => self.driver_features = self.driver_features & !0xFFFF_FFFF | u64::from(value),
            1 => self.driver_features = self.driver_features & 0xFFFF_FFFF | u64::from(value) << 32,
            _ => {}
        }
    }

    /// Writing 0 resets the device.
    fn set_status(&mut self, value: u32) {
        if value == 0 {
            *self = Self::default();
        }
        self.status = value;
    }

    fn configure_queue(&mut self, offset: u64, value: u32) {
        let Some(queue) = self.queues.get_mut(self.selected_queue as usize) else { return };
        match offset {
            0x038 => queue.set_size(u16::try_from(value).unwrap_or(0)),
            0x044 => queue.set_ready(value == 1),
            0x080 => queue.set_desc_table_address(Some(value), None),
            0x084 => queue.set_desc_table_address(None, Some(value)),
            0x090 => queue.set_avail_ring_address(Some(value), None),
            0x094 => queue.set_avail_ring_address(None, Some(value)),
            0x0A0 => queue.set_used_ring_address(Some(value), None),
            0x0A4 => queue.set_used_ring_address(None, Some(value)),
            _ => {}
        }
    }
}

fn word(value: u64, number: u32) -> u32 {
    match number {
        0 => value as u32,
        1 => (value >> 32) as u32,
        _ => 0,
    }
}
