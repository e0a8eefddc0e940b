use cardhost_wire::port::Protocol;

use super::*;

const PORT: Port = Port::Apdu(Protocol::ApduGate);

fn from_guest(host_port: u32, operation: Operation, payload: &[u8], buf_alloc: u32, fwd_cnt: u32) -> Packet {
    let length = payload.len() as u32;
    let header = Header { host_port, guest_port: PORT.number(), length, operation, buf_alloc, fwd_cnt };
    Packet { header, payload: payload.to_vec() }
}

fn opened(buffer: u32) -> (Streams, u32) {
    let mut streams = Streams::default();
    assert_eq!(streams.open(PORT, true), None);
    let (request, _) = streams.next_packet(100).unwrap();
    assert_eq!(request.operation, Operation::REQUEST);
    let accepted = streams.receive(from_guest(request.host_port, Operation::RESPONSE, &[], buffer, 0));
    assert_eq!(accepted, Ok(Some(Event::Opened(PORT))));
    (streams, request.host_port)
}

#[test]
fn data_never_exceeds_the_guests_credit() {
    let (mut streams, host_port) = opened(10);
    streams.data(PORT, &[7; 25]).unwrap();
    let (header, payload) = streams.next_packet(100).unwrap();
    assert_eq!((header.operation, payload.len()), (Operation::RW, 10));
    let (header, _) = streams.next_packet(100).unwrap();
    assert_eq!(header.operation, Operation::CREDIT_REQUEST);
    assert!(streams.next_packet(100).is_none());
    streams.receive(from_guest(host_port, Operation::CREDIT_UPDATE, &[], 10, 10)).unwrap();
    assert_eq!(streams.next_packet(4).unwrap().1.len(), 4);
    assert_eq!(streams.next_packet(100).unwrap().1.len(), 6);
}

#[test]
fn impossible_credit_is_a_violation() {
    let (mut streams, host_port) = opened(10);
    streams.data(PORT, &[7; 5]).unwrap();
    streams.next_packet(100).unwrap();
    let ahead = streams.receive(from_guest(host_port, Operation::CREDIT_UPDATE, &[], 10, 6));
    assert_eq!(ahead, Err(Violation::Credit));
}

#[test]
fn a_late_packet_does_not_reach_the_next_stream() {
    let (mut streams, old) = opened(10);
    streams.close(PORT);
    streams.open(PORT, true);
    assert_eq!(streams.receive(from_guest(old, Operation::RW, b"late", 10, 0)), Ok(None));
    let operations: Vec<_> = std::iter::from_fn(|| streams.next_packet(100))
        .map(|(header, _)| (header.operation, header.host_port))
        .collect();
    assert_eq!(operations, [(Operation::RST, old), (Operation::REQUEST, old + 1), (Operation::RST, old)]);
}

#[test]
fn a_guest_that_demands_answers_without_end_is_stopped() {
    let (mut streams, _) = opened(10);
    let outcome =
        (0..100).try_for_each(|n| streams.receive(from_guest(n, Operation::RW, b"x", 0, 0)).map(drop));
    assert_eq!(outcome, Err(Violation::Flood));
}

/// The guest may send without end and be sent nothing: it must hear that its bytes were taken.
#[test]
fn a_talkative_guest_hears_of_its_credit() {
    let (mut streams, host_port) = opened(10);
    let chunk = [0; 4096];
    let mut sent = 0;
    while !streams.has_packet() {
        assert!(sent < HOST_BUFFER, "the guest's credit ran out");
        streams.receive(from_guest(host_port, Operation::RW, &chunk, 10, 0)).unwrap();
        sent += chunk.len() as u32;
    }
    let (update, _) = streams.next_packet(100).unwrap();
    assert_eq!((update.operation, update.fwd_cnt), (Operation::CREDIT_UPDATE, sent));
}

#[test]
fn the_daemon_cannot_pile_up_data() {
    let (mut streams, _) = opened(10);
    assert!(streams.data(PORT, &vec![0; MAX_WAITING]).is_ok());
    assert_eq!(streams.data(PORT, &[0]), Err(TooMuchData));
}

#[test]
fn a_shutdown_ends_the_stream_once() {
    let (mut streams, host_port) = opened(10);
    let ended = streams.receive(from_guest(host_port, Operation::SHUTDOWN, &[], 10, 0));
    assert_eq!(ended, Ok(Some(Event::Closed(PORT))));
    assert_eq!(streams.next_packet(100).unwrap().0.operation, Operation::RST);
    assert_eq!(streams.receive(from_guest(host_port, Operation::RST, &[], 10, 0)), Ok(None));
}
