//! A card inside this process: the microVM's machine and device without the link's socket, to time the exchange
//! alone. The loop is that of a card's process (`cardhost_vmm::card`) with memory in place of the socket.

use anyhow::{Context, Result, bail};
use cardhost_vmm::{
    card::{
        machine::{
            Exit, Machine,
            kvm::{Blueprint, VirtualMachine},
        },
        memory::View,
    },
    device::{
        queues,
        streams::{self, Event},
        transport::{Effect, Transport},
    },
    image::Image,
};
use cardhost_wire::{
    boot::{MMIO_BASE, RX_QUEUE},
    control::{HostMessage, Launch, VERSION},
    frame::{FrameReader, framed},
    port::Port,
};
use kvm_ioctls::Kvm;

use crate::card::Streams;

/// A guest whose streams end here.
pub struct InProcess {
    machine: VirtualMachine,
    /// Dropped after the machine that is over it.
    _view: View,
    transport: Transport,
    streams: streams::Streams,
    readers: [FrameReader; Port::ALL.len()],
    opened: bool,
    /// A vCPU stays alive as long as the launcher would keep one.
    _blueprint: Blueprint,
}

impl InProcess {
    /// A guest that has got its launch.
    pub fn launch() -> Result<Self> {
        let image = Image::load(cardhost_image::GUEST, cardhost_image::GUEST_SHA256)?;
        let kvm = Kvm::new().context("/dev/kvm")?;
        let blueprint = Blueprint::gather(&kvm)?;
        let view = View::of(&image.memory, &image.large_pages)?;
        let machine = VirtualMachine::new(&kvm, &blueprint, view.memory(), &blueprint.at_entry(image.entry))?;
        let mut guest = Self {
            machine,
            _view: view,
            transport: Transport::default(),
            streams: streams::Streams::default(),
            readers: Default::default(),
            opened: false,
            _blueprint: blueprint,
        };
        guest.streams.open(Port::Control, false);
        guest.send(Port::Control, &HostMessage::Launch(for_measurement()).encode())?;
        Ok(guest)
    }

    /// Runs the guest until it is idle.
    fn run(&mut self) -> Result<()> {
        self.give()?;
        loop {
            match self.machine.run() {
                Exit::Write { address, value } => {
                    if let Effect::Notify(queue) = self.transport.write(address - MMIO_BASE, value) {
                        self.drain()?;
                        if queue == u32::from(RX_QUEUE) {
                            return Ok(());
                        }
                    }
                }
                Exit::Read { address } => self.machine.answer(self.transport.read(address - MMIO_BASE)),
                other => bail!("the guest ended: {other:?}"),
            }
        }
    }

    fn drain(&mut self) -> Result<()> {
        while let Some(packet) = queues::take(&mut self.transport, self.machine.memory())? {
            match self.streams.receive(packet)? {
                Some(Event::Data(port, bytes)) => self.readers[index(port)].push(&bytes),
                Some(Event::Opened(_)) => self.opened = true,
                Some(Event::Closed(port)) => bail!("the guest closed {port:?}"),
                None => {}
            }
        }
        Ok(())
    }

    fn give(&mut self) -> Result<()> {
        while self.streams.has_packet() {
            let buffer = queues::receive_buffer(&mut self.transport, self.machine.memory())?;
            let Some(buffer) = buffer else { return Ok(()) };
            let Some((header, payload)) = self.streams.next_packet(buffer.room) else { return Ok(()) };
            queues::give(&mut self.transport, self.machine.memory(), buffer, header, &payload)?;
        }
        Ok(())
    }
}

impl Streams for InProcess {
    fn begin(&mut self, start: &[u8], port: Port) -> Result<()> {
        self.send(Port::Control, start)?;
        self.streams.open(port, true);
        while !self.opened {
            self.run()?;
        }
        Ok(())
    }

    fn send(&mut self, port: Port, message: &[u8]) -> Result<()> {
        Ok(self.streams.data(port, &framed(message))?)
    }

    fn receive(&mut self) -> Result<(Port, Vec<u8>)> {
        loop {
            for (port, reader) in Port::ALL.into_iter().zip(&mut self.readers) {
                if let Some(message) = reader.next_message()? {
                    return Ok((port, message));
                }
            }
            self.run()?;
        }
    }
}

/// A launch without any secret worth keeping.
fn for_measurement() -> Launch {
    Launch {
        version: VERSION,
        seed: [1; 32],
        card: [2; 16],
        owner: [3; 32],
        image_policy: [4; 32],
        card_key: [5; 32],
        default_keys: false,
    }
}

fn index(port: Port) -> usize {
    Port::ALL.into_iter().position(|known| known == port).expect("every port is listed")
}
