//! A hostile driver: random registers, rings, descriptors and packets never make the device panic, loop or give the
//! guest more than it has room for. `CARDHOST_TESTS_LONG=1` tries a thousand times as many.

use std::collections::BTreeMap;

use cardhost_vmm::device::{
    Violation,
    packet::{HEADER, Header, Operation},
    queues::{give, receive_buffer, take},
    streams::Streams,
    transport::Transport,
};
use cardhost_wire::{
    boot::{MAX_PACKET, RX_QUEUE, TX_QUEUE},
    port::{GUEST_CID, HOST_CID, Port, Protocol},
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRng, TestRunner},
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const CASES: u32 = 2_000;
const MEMORY: usize = 64 * 1024;
const QUEUE_SIZE: u16 = 4;
/// Where each queue's rings lie: descriptors, available and used ring.
const RINGS: [(u64, u64, u64); 2] = [(0x1000, 0x1100, 0x1200), (0x2000, 0x2100, 0x2200)];
/// Buffers of one page each.
const BUFFERS: u64 = 0x4000;
const PORT: Port = Port::Apdu(Protocol::ApduGate);
/// The first stream's port at the host.
const HOST_PORT: u32 = 0x1_0000;

/// One step of the driver, or of the daemon on the other side.
#[derive(Clone, Debug)]
enum Step {
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

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..40)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (register(), any::<u32>()).prop_map(|(offset, value)| Step::Register(offset, value)),
        1 => (0..MEMORY as u64, prop::collection::vec(any::<u8>(), 1..32))
            .prop_map(|(address, bytes)| Step::Memory(address, bytes)),
        2 => descriptor(),
        2 => offer(),
        12 => packet(),
        4 => Just(Step::Room),
        8 => Just(Step::Transmit),
        8 => Just(Step::Receive),
        8 => Just(Step::Open),
        4 => (1..20_000_usize).prop_map(Step::Data),
        1 => Just(Step::Close),
    ]
}

fn register() -> impl Strategy<Value = u64> {
    prop_oneof![
        prop::sample::select(vec![0x24, 0x20, 0x30, 0x38, 0x44, 0x70, 0x80, 0x90, 0xA0]),
        0..0x200_u64
    ]
}

fn descriptor() -> impl Strategy<Value = Step> {
    let address =
        prop_oneof![8 => (0..8_u64).prop_map(buffer), 1 => 0..MEMORY as u64 + 4096, 1 => any::<u64>()];
    let length = prop_oneof![8 => HEADER as u32..=4096, 2 => 0..100_u32, 1 => any::<u32>()];
    let parts = (0..2_usize, 0..QUEUE_SIZE + 1, address, length, 0..8_u16, 0..QUEUE_SIZE + 1);
    parts.prop_map(|(queue, at, address, length, flags, next)| Step::Descriptor {
        queue,
        at,
        address,
        length,
        flags,
        next,
    })
}

fn offer() -> impl Strategy<Value = Step> {
    let by = prop_oneof![40 => Just(1), 1 => any::<u16>()];
    (0..2_usize, 0..QUEUE_SIZE + 1, by).prop_map(|(queue, head, by)| Step::Offer { queue, head, by })
}

fn packet() -> impl Strategy<Value = Step> {
    let cids = prop_oneof![40 => Just((GUEST_CID, HOST_CID)), 1 => any::<(u64, u64)>()];
    let kind = prop_oneof![40 => Just(1), 1 => any::<u16>()];
    let ports = (
        prop_oneof![40 => Just(HOST_PORT), 2 => HOST_PORT..HOST_PORT + 3, 1 => any::<u32>()],
        prop_oneof![40 => Just(PORT.number()), 1 => any::<u32>()],
    );
    let credit = (
        prop_oneof![20 => 0..10_000_u32, 1 => any::<u32>()],
        prop_oneof![40 => Just(0), 4 => 0..100_u32, 1 => any::<u32>()],
    );
    let operation = prop_oneof![3 => Just(2), 6 => Just(5), 3 => Just(6), 2 => Just(7), 1 => 0..9_u16];
    let length = prop_oneof![40 => 0..4052_u32, 1 => any::<u32>()];
    (0..QUEUE_SIZE, cids, kind, ports, operation, credit, length).prop_map(
        |(at, cids, kind, (host_port, guest_port), operation, (buf_alloc, fwd_cnt), length)| Step::Send {
            at,
            header: Header {
                host_port,
                guest_port,
                length,
                operation: Operation(operation),
                buf_alloc,
                fwd_cnt,
            },
            cids,
            kind,
        },
    )
}

fn buffer(at: u64) -> u64 {
    BUFFERS + at * 0x1000
}

/// What the cases reached, so that a generator that has gone blind is noticed.
type Reached = BTreeMap<String, u32>;

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

/// Runs the steps up to the first violation. This is the entry for a fuzzer.
fn drive(steps: Vec<Step>) -> Reached {
    let mut device = Device::new();
    let outcome = steps.into_iter().try_for_each(|step| device.run(step));
    device.reach(format!("end: {outcome:?}"));
    device.reached
}

#[test]
fn a_hostile_driver_is_harmless() {
    let long = std::env::var_os("CARDHOST_TESTS_LONG").is_some();
    let cases = if long { CASES * 1_000 } else { CASES };
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(Default::default()));
    let reached = std::cell::RefCell::new(Reached::new());
    let driven = runner.run(&steps(), |steps| {
        for (what, count) in drive(steps) {
            *reached.borrow_mut().entry(what).or_default() += count;
        }
        Ok(())
    });
    driven.unwrap();
    let reached = reached.into_inner();
    println!("{reached:#?}");
    assert_everything_was_reached(&reached);
}

fn assert_everything_was_reached(reached: &Reached) {
    let ends = ["Ok(())", "Err(Queue)", "Err(Packet)", "Err(Address)", "Err(Credit)"]
        .map(|end| format!("end: {end}"));
    let events = ["Opened", "Data", "Closed"].map(|event| format!("event: {event}"));
    let sent = [1, 3, 5, 6, 7].map(|operation| format!("to the guest: {:?}", Operation(operation)));
    for wanted in ends.into_iter().chain(events).chain(sent) {
        assert!(reached.contains_key(&wanted), "never reached {wanted}");
    }
}
