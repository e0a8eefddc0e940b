//! A hostile driver: random registers, rings, descriptors and packets never make the device panic, loop or give the
//! guest more than it has room for. `CARDHOST_TESTS_LONG=1` tries a thousand times as many.

mod driver;

use cardhost_vmm::device::packet::{HEADER, Header, Operation};
use cardhost_wire::port::{GUEST_CID, HOST_CID};
use driver::{HOST_PORT, MEMORY, PORT, QUEUE_SIZE, Reached, Step, buffer, drive};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRng, TestRunner},
};

const CASES: u32 = 2_000;
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
