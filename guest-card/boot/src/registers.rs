//! The device's registers (VIRTIO 1.3, 4.2.2), with as few accesses as there is something to say.
//!
//! Each access leaves the guest. The device is the one that [`cardhost_wire::boot`] describes, fresh from reset and
//! of this guest alone, so nothing is asked whose answer is fixed there, and no register is written with the value
//! that reset has given it: set-up takes 19 accesses instead of virtio-drivers' 42.
#![expect(unsafe_code, reason = "device registers are raw memory")]

use core::ptr::{NonNull, with_exposed_provenance_mut};

use cardhost_wire::boot::QUEUE_SIZE;
use virtio_drivers::{
    Error, PhysAddr, Result,
    transport::{DeviceStatus, DeviceType, InterruptStatus, Transport},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

const DEVICE_FEATURES: usize = 0x10;
const DEVICE_FEATURES_SEL: usize = 0x14;
const DRIVER_FEATURES: usize = 0x20;
const DRIVER_FEATURES_SEL: usize = 0x24;
const QUEUE_SEL: usize = 0x30;
const QUEUE_NUM: usize = 0x38;
const QUEUE_READY: usize = 0x44;
const QUEUE_NOTIFY: usize = 0x50;
const STATUS: usize = 0x70;
const QUEUE_DESC_LOW: usize = 0x80;
const QUEUE_DRIVER_LOW: usize = 0x90;
const QUEUE_DEVICE_LOW: usize = 0xA0;
/// The word of the feature bits 32 to 63; below them nothing is offered.
const HIGH_WORD: u32 = 1;

/// The one device.
pub struct Registers(NonNull<u32>);

impl Registers {
    /// The device at `base`, the address that the host has told at entry.
    pub fn at(base: u64) -> Self {
        Self(NonNull::new(with_exposed_provenance_mut(base as usize)).expect("the device is not at 0"))
    }

    fn read(&self, register: usize) -> u32 {
        // SAFETY: the host maps the device's page at this address for the guest's whole life (wire::boot), and the
        // register lies within it.
        unsafe { self.0.byte_add(register).read_volatile() }
    }

    fn write(&mut self, register: usize, value: u32) {
        // SAFETY: as for `read`.
        unsafe { self.0.byte_add(register).write_volatile(value) }
    }
}

impl Transport for Registers {
    fn device_type(&self) -> DeviceType {
        DeviceType::Socket
    }

    fn read_device_features(&mut self) -> u64 {
        self.write(DEVICE_FEATURES_SEL, HIGH_WORD);
        u64::from(self.read(DEVICE_FEATURES)) << 32
    }

    fn write_driver_features(&mut self, features: u64) {
        self.write(DRIVER_FEATURES_SEL, HIGH_WORD);
        self.write(DRIVER_FEATURES, (features >> 32) as u32);
    }

    fn max_queue_size(&mut self, _: u16) -> u32 {
        QUEUE_SIZE.into()
    }

    fn notify(&mut self, queue: u16) {
        self.write(QUEUE_NOTIFY, queue.into());
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.read(STATUS))
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.write(STATUS, status.bits());
    }

    fn set_guest_page_size(&mut self, _: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    /// Guest memory ends below 4 GiB: the addresses' high words stay zero.
    fn queue_set(&mut self, queue: u16, size: u32, table: PhysAddr, driver: PhysAddr, device: PhysAddr) {
        self.write(QUEUE_SEL, queue.into());
        self.write(QUEUE_NUM, size);
        self.write(QUEUE_DESC_LOW, table as u32);
        self.write(QUEUE_DRIVER_LOW, driver as u32);
        self.write(QUEUE_DEVICE_LOW, device as u32);
        self.write(QUEUE_READY, 1);
    }

    fn queue_unset(&mut self, queue: u16) {
        self.write(QUEUE_SEL, queue.into());
        self.write(QUEUE_READY, 0);
    }

    fn queue_used(&mut self, _: u16) -> bool {
        false
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }

    fn read_config_generation(&self) -> u32 {
        0
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, _: usize) -> Result<T> {
        Err(Error::ConfigSpaceMissing)
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, _: usize, _: T) -> Result<()> {
        Err(Error::ConfigSpaceMissing)
    }
}
