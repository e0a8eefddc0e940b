//! The machine under the card OS: commits over the control stream, RDRAND.

use alloc::{collections::VecDeque, vec::Vec};

use cardhost_boot::{
    entropy,
    streams::{self, Event, Stream},
};
use cardhost_guest::platform::{NotCommitted, Platform};
use cardhost_wire::{
    control::{Commit, GuestMessage, HostMessage},
    frame::MAX_MESSAGE,
    port::Port,
};

/// Most control messages that may arrive while a commit is under way; the host has at most one command open.
const MOST_DEFERRED: usize = 4;

/// The streams, and what arrived on the control stream before its turn.
pub struct Machine {
    deferred: VecDeque<(Stream, Vec<u8>)>,
}

impl Machine {
    /// A machine whose device is set up.
    pub const fn new() -> Self {
        Self { deferred: VecDeque::new() }
    }

    /// The next thing that the card has to react to; waits for it.
    pub fn next_event(&mut self) -> Event {
        match self.deferred.pop_front() {
            Some((stream, message)) => Event::Message(stream, message),
            None => streams::with(|streams| streams.next_event()),
        }
    }

    /// Waits for the host's verdict on the commit of this epoch.
    fn verdict(&mut self, control: Stream, epoch: u64) -> Result<(), NotCommitted> {
        loop {
            let message = streams::with(|streams| streams.next_message(control));
            // Whether the host stored it is unknown, and no answer would be true: the card starts anew from what
            // the host has.
            let message = message.expect("the host keeps the control stream open during a commit");
            match HostMessage::decode(&message) {
                Ok(HostMessage::Committed(stored)) if stored == epoch => return Ok(()),
                Ok(HostMessage::CommitFailed(failed)) if failed == epoch => return Err(NotCommitted),
                _ => self.defer(control, message),
            }
        }
    }

    fn defer(&mut self, control: Stream, message: Vec<u8>) {
        assert!(self.deferred.len() < MOST_DEFERRED, "the host sends one command at a time");
        self.deferred.push_back((control, message));
    }
}

impl Platform for Machine {
    fn commit(&mut self, commit: Commit) -> Result<(), NotCommitted> {
        let epoch = commit.epoch;
        let message = GuestMessage::Commit(commit).encode();
        if message.len() > MAX_MESSAGE {
            return Err(NotCommitted);
        }
        let control = streams::with(|streams| streams.stream(Port::Control)).ok_or(NotCommitted)?;
        // A stream that closed half-way carried no whole message; one that closes later is seen below.
        streams::with(|streams| streams.send(control, &message)).map_err(|_| NotCommitted)?;
        self.verdict(control, epoch)
    }

    fn hardware_random(&mut self) -> Option<u64> {
        entropy::hardware_random()
    }
}
