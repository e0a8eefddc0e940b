//! A card's way from its launch to its first answer.

use cardhost_wire::{
    control::{GuestMessage, HostMessage, STATE_CHUNK, SealedRecord, Started},
    frame::FrameReader,
    link::Kind,
    port::Port,
};

use super::{
    CardError, Violation,
    guest::{next_message, panicked, send},
    link::Link,
    refused::Refused,
    task,
};

/// Longest answer to reset (ISO/IEC 7816-3, 8.1).
const MAX_ATR: usize = 33;

/// The stored state that a card is started with.
pub(super) struct State {
    pub(super) head: Option<Vec<u8>>,
    pub(super) records: Vec<SealedRecord>,
}

impl State {
    /// The state of a new card.
    pub(super) const fn new_card() -> Self {
        Self { head: None, records: Vec::new() }
    }
}

/// Queues all that the guest is told first, and sends as much as the link takes. A process that is still being made
/// finds it together with its launch.
pub(super) fn begin(link: &mut Link, state: State) -> Result<(), CardError> {
    link.signal(Kind::Open, Port::Control.number());
    for chunk in chunks(state.records) {
        send(link, &HostMessage::State(chunk));
    }
    send(link, &HostMessage::Start(state.head));
    link.send_ahead()
}

/// Waits for the guest's verdict on a state of this epoch.
pub(super) async fn finish(link: &mut Link, epoch: u64) -> Result<(Started, FrameReader), CardError> {
    let mut reader = FrameReader::new();
    let started = verdict(link, &mut reader).await?;
    if started.epoch != epoch || started.atr.len() > MAX_ATR {
        return Err(CardError::Misbehaved(Violation::State));
    }
    Ok((started, reader))
}

async fn verdict(link: &mut Link, reader: &mut FrameReader) -> Result<Started, CardError> {
    loop {
        let frame = link.next().await?;
        match frame.kind {
            Kind::Data if frame.port == Port::Control.number() => reader.push(&frame.payload),
            Kind::Opened if frame.port == Port::Control.number() => {}
            Kind::Report => drop(task::report(&frame.payload)?),
            _ => return Err(CardError::Misbehaved(Violation::Unexpected)),
        }
        match next_message(reader)? {
            Some(GuestMessage::Started(started)) => return Ok(started),
            Some(GuestMessage::Refused(why)) => return Err(CardError::Refused(Refused::State(why))),
            Some(GuestMessage::Panic(text)) => return Err(panicked(&text)),
            Some(_) => return Err(CardError::Misbehaved(Violation::Unexpected)),
            None => {}
        }
    }
}

/// Cuts the records into messages of at most [`STATE_CHUNK`] sealed bytes, or one larger record.
fn chunks(records: Vec<SealedRecord>) -> Vec<Vec<SealedRecord>> {
    let (mut chunks, mut current, mut size) = (Vec::new(), Vec::new(), 0);
    for record in records {
        if size + record.sealed.len() > STATE_CHUNK && !current.is_empty() {
            chunks.push(std::mem::take(&mut current));
            size = 0;
        }
        size += record.sealed.len();
        current.push(record);
    }
    if !current.is_empty() {
        chunks.push(current);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_cut_so_that_no_message_is_too_long() {
        let record = |id, size| SealedRecord { id, sealed: vec![0; size] };
        let sizes = [10, STATE_CHUNK, 1, STATE_CHUNK - 1, 1, STATE_CHUNK + 7, 3];
        let records: Vec<_> = (0..).zip(sizes).map(|(id, size)| record(id, size)).collect();
        let cut = chunks(records.clone());
        assert_eq!(cut.concat(), records);
        for chunk in &cut {
            let bytes: usize = chunk.iter().map(|record| record.sealed.len()).sum();
            assert!(bytes <= STATE_CHUNK || chunk.len() == 1);
        }
        assert!(chunks(Vec::new()).is_empty());
    }
}
