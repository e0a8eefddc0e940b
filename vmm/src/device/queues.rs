//! Packets in and out of guest memory.

use cardhost_wire::boot::{MAX_PACKET, RX_QUEUE, TX_QUEUE};
use virtio_queue::{DescriptorChain, QueueOwnedT, QueueT};
use virtio_vsock::packet::VsockPacket;
use vm_memory::{Bytes, GuestMemory, GuestMemoryMmap, Permissions};

use super::{
    Violation,
    packet::{HEADER, Header},
    transport::Transport,
};

const MAX_PAYLOAD: u32 = (MAX_PACKET - HEADER) as u32;

/// A packet copied out of guest memory.
pub struct Packet {
    /// Its checked header.
    pub header: Header,
    /// Its data, exactly as long as the header says.
    pub payload: Vec<u8>,
}

/// Takes the next packet that the guest transmits, if there is one.
pub fn take(transport: &mut Transport, memory: &GuestMemoryMmap) -> Result<Option<Packet>, Violation> {
    let Some(queue) = transport.ready_queue(TX_QUEUE) else { return Ok(None) };
    let Some(mut chain) = queue.iter(memory).map_err(|_| Violation::Queue)?.next() else { return Ok(None) };
    let packet = copy_out(memory, &mut chain);
    queue.add_used(memory, chain.head_index(), 0).map_err(|_| Violation::Queue)?;
    packet.map(Some)
}

fn copy_out(
    memory: &GuestMemoryMmap,
    chain: &mut DescriptorChain<&GuestMemoryMmap>,
) -> Result<Packet, Violation> {
    let packet =
        VsockPacket::from_tx_virtq_chain(memory, chain, MAX_PAYLOAD).map_err(|_| Violation::Packet)?;
    let mut header = [0; HEADER];
    packet.header_slice().copy_to(&mut header);
    let header = Header::parse(&header)?;
    let mut payload = vec![0; header.length.min(MAX_PAYLOAD) as usize];
    let copied = packet.data_slice().map_or(0, |data| data.copy_to(&mut payload));
    if header.length > MAX_PAYLOAD || copied != payload.len() {
        return Err(Violation::Packet);
    }
    Ok(Packet { header, payload })
}

/// A free receive buffer of the guest: room for one packet.
pub struct ReceiveBuffer {
    head: u16,
    segments: Vec<(vm_memory::GuestAddress, usize)>,
    /// Bytes of data it holds behind the header.
    pub room: usize,
}

/// Takes the guest's next receive buffer, if it has left one.
pub fn receive_buffer(
    transport: &mut Transport,
    memory: &GuestMemoryMmap,
) -> Result<Option<ReceiveBuffer>, Violation> {
    let Some(queue) = transport.ready_queue(RX_QUEUE) else { return Ok(None) };
    let Some(chain) = queue.iter(memory).map_err(|_| Violation::Queue)?.next() else { return Ok(None) };
    let head = chain.head_index();
    let mut segments = Vec::with_capacity(1);
    for descriptor in chain {
        let length = descriptor.len() as usize;
        if !descriptor.is_write_only() || !memory.check_range(descriptor.addr(), length, Permissions::Write) {
            return Err(Violation::Queue);
        }
        segments.push((descriptor.addr(), length));
    }
    let total: usize = segments.iter().map(|(_, length)| *length).sum();
    let room = total.min(MAX_PACKET).checked_sub(HEADER).ok_or(Violation::Queue)?;
    Ok(Some(ReceiveBuffer { head, segments, room }))
}

/// Gives the guest one packet; `payload` must fit the buffer's room.
pub fn give(
    transport: &mut Transport,
    memory: &GuestMemoryMmap,
    buffer: ReceiveBuffer,
    header: Header,
    payload: &[u8],
) -> Result<(), Violation> {
    let length = HEADER + payload.len();
    let mut writer = Scatter { memory, segments: buffer.segments.into_iter(), at: None };
    writer.write(&header.to_bytes())?;
    writer.write(payload)?;
    let queue = transport.ready_queue(RX_QUEUE).ok_or(Violation::Queue)?;
    queue.add_used(memory, buffer.head, length as u32).map_err(|_| Violation::Queue)
}

/// Writes over the segments of a receive buffer one after the other.
struct Scatter<'a> {
    memory: &'a GuestMemoryMmap,
    segments: std::vec::IntoIter<(vm_memory::GuestAddress, usize)>,
    at: Option<(vm_memory::GuestAddress, usize)>,
}

impl Scatter<'_> {
    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Violation> {
        while !bytes.is_empty() {
            let (address, room) = self.at.take().or_else(|| self.segments.next()).ok_or(Violation::Queue)?;
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.memory.write_slice(now, address).map_err(|_| Violation::Queue)?;
            let next = vm_memory::GuestAddress(address.0 + now.len() as u64);
            self.at = (room > now.len()).then_some((next, room - now.len()));
            bytes = later;
        }
        Ok(())
    }
}
