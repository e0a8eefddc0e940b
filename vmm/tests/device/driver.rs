//! A driver that may do anything, and the daemon on the other side of the device.

use std::collections::BTreeMap;

use cardhost_vmm::device::{
    Violation,
    packet::{HEADER, Header},
    queues::{give, receive_buffer, take},
    streams::Streams,
    transport::Transport,
};
use cardhost_wire::{
    boot::{MAX_PACKET, RX_QUEUE, TX_QUEUE},
    port::{Port, Protocol},
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

pub const MEMORY: usize = 64 * 1024;
pub const QUEUE_SIZE: u16 = 4;
/// Where each queue's rings lie: descriptors, available and used ring.
const RINGS: [(u64, u64, u64); 2] = [(0x1000, 0x1100, 0x1200), (0x2000, 0x2100, 0x2200)];
/// Buffers of one page each.
const BUFFERS: u64 = 0x4000;
pub const PORT: Port = Port::Apdu(Protocol::ApduGate);
/// The first stream's port at the host.
pub const HOST_PORT: u32 = 0x1_0000;

/// One step of the driver, or of the daemon on the other side.
#[derive(Clone, Debug)]
pub enum Step {
    Register(u64, u32),
    Memory(u64, Vec<u8>),
    Descriptor {
        queue: usize,
        at: u16,
        address: u64,
        length: u32,
        flags: u16,
        next: u16,
    },
    Offer {
        queue: usize,
        head: u16,
        by: u16,
    },
    /// A packet, written, described, offered and notified as a driver does it.
    Send {
        at: u16,
        header: Header,
        cids: (u64, u64),
        kind: u16,
    },
    /// All receive buffers are offered again.
    Room,
    Transmit,
    Receive,
    Open,
    Data(usize),
    Close,
}

/// Where a buffer lies.
pub fn buffer(at: u64) -> u64 {
    BUFFERS + at * 0x1000
}

/// What the cases reached, so that a generator that has gone blind is noticed.
pub type Reached = BTreeMap<String, u32>;

struct Device {
    memory: GuestMemoryMmap,
    transport: Transport,
    streams: Streams,
    reached: Reached,
}

impl Device {
    /// A device whose driver has set it up as it should.
    fn new() -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).unwrap();
        let mut transport = Transport::default();
        for (offset, value) in [(0x70, 0), (0x70, 3), (0x24, 1), (0x20, 1), (0x70, 11)] {
            transport.write(offset, value);
        }
        for (queue, (descriptors, available, used)) in RINGS.into_iter().enumerate() {
            transport.write(0x30, queue as u32);
            transport.write(0x38, QUEUE_SIZE.into());
            for (offset, address) in [(0x80, descriptors), (0x90, available), (0xA0, used)] {
                transport.write(offset, address as u32);
            }
            transport.write(0x44, 1);
        }
        transport.write(0x70, 15);
        let mut device = Self { memory, transport, streams: Streams::default(), reached: Reached::new() };
        (0..2).for_each(|queue| device.default_descriptors(queue));
        device
    }

    fn default_descriptors(&mut self, queue: usize) {
        let flags = if queue == usize::from(RX_QUEUE) { 2 } else { 0 };
        for at in 0..QUEUE_SIZE {
            let address = buffer(queue as u64 * 4 + u64::from(at));
            self.descriptor(queue, at, address, MAX_PACKET as u32, flags, 0);
        }
    }

    fn descriptor(&self, queue: usize, at: u16, address: u64, length: u32, flags: u16, next: u16) {
        let bytes =
            [&address.to_le_bytes()[..], &length.to_le_bytes(), &flags.to_le_bytes(), &next.to_le_bytes()];
        self.write(RINGS[queue].0 + u64::from(at) * 16, &bytes.concat());
    }

    fn offer(&self, queue: usize, head: u16, by: u16) {
        let index: u16 = self.memory.read_obj(GuestAddress(RINGS[queue].1 + 2)).unwrap();
        self.write(RINGS[queue].1 + 4 + u64::from(index % QUEUE_SIZE) * 2, &head.to_le_bytes());
        self.write(RINGS[queue].1 + 2, &index.wrapping_add(by).to_le_bytes());
    }

    fn send(&mut self, at: u16, header: Header, cids: (u64, u64), kind: u16) -> Result<(), Violation> {
        let mut bytes = header.to_bytes();
        bytes[..8].copy_from_slice(&cids.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&cids.1.to_le_bytes());
        bytes[16..24].rotate_left(4);
        bytes[28..30].copy_from_slice(&kind.to_le_bytes());
        let address = buffer(4 + u64::from(at));
        self.write(address, &bytes);
        let length = (HEADER as u32).saturating_add(header.length);
        self.descriptor(usize::from(TX_QUEUE), at, address, length, 0, 0);
        self.offer(usize::from(TX_QUEUE), at, 1);
        self.transmit()
    }

    fn write(&self, address: u64, bytes: &[u8]) {
        let room = (MEMORY as u64).saturating_sub(address).min(bytes.len() as u64);
        self.memory.write_slice(&bytes[..room as usize], GuestAddress(address)).unwrap();
    }

    fn run(&mut self, step: Step) -> Result<(), Violation> {
        match step {
            Step::Register(offset, value) => {
                self.transport.write(offset, value);
                self.transport.read(offset);
            }
            Step::Memory(address, bytes) => self.write(address, &bytes),
            Step::Descriptor { queue, at, address, length, flags, next } => {
                self.descriptor(queue, at, address, length, flags, next);
            }
            Step::Offer { queue, head, by } => self.offer(queue, head, by),
            Step::Send { at, header, cids, kind } => return self.send(at, header, cids, kind),
            Step::Room => (0..QUEUE_SIZE).for_each(|head| self.offer(usize::from(RX_QUEUE), head, 1)),
            Step::Transmit => return self.transmit(),
            Step::Receive => return self.receive(),
            Step::Open => drop(self.streams.open(PORT, true)),
            Step::Data(length) => drop(self.streams.data(PORT, &vec![0x5A; length])),
            Step::Close => self.streams.close(PORT),
        }
        Ok(())
    }

    fn transmit(&mut self) -> Result<(), Violation> {
        while let Some(packet) = take(&mut self.transport, &self.memory)? {
            assert!(packet.payload.len() <= MAX_PACKET - HEADER);
            self.reach(format!("from the guest: {:?}", packet.header.operation));
            if let Some(event) = self.streams.receive(packet)? {
                self.reach(format!("event: {}", format!("{event:?}").split('(').next().unwrap()));
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<(), Violation> {
        while self.streams.has_packet() {
            let Some(buffer) = receive_buffer(&mut self.transport, &self.memory)? else { break };
            let room = buffer.room;
            let (header, payload) = self.streams.next_packet(room).expect("it has a packet");
            assert!(payload.len() <= room && payload.len() == header.length as usize);
            give(&mut self.transport, &self.memory, buffer, header, &payload)?;
            self.reach(format!("to the guest: {:?}", header.operation));
        }
        Ok(())
    }

    fn reach(&mut self, what: String) {
        *self.reached.entry(what).or_default() += 1;
    }
}

/// Runs the steps up to the first violation. Returns what they reached.
pub fn drive(steps: Vec<Step>) -> Reached {
    let mut device = Device::new();
    let outcome = steps.into_iter().try_for_each(|step| device.run(step));
    device.reach(format!("end: {outcome:?}"));
    device.reached
}
