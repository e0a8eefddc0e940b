//! Notifications for servers (GSMA SGP.22, 3.5 and 5.7.9 to 5.7.11).

use alloc::{string::String, vec::Vec};

use cardhost_wire::{
    profiles::{Iccid, NotificationEvent},
    status::Status,
    tlv::object,
};
use serde::{Deserialize, Serialize};

use super::{
    registry::Registry,
    request::{Events, Wanted},
};
use crate::{container::Uicc, nvm::Part};

/// Most notifications that wait; the oldest make room.
pub const MOST_NOTIFICATIONS: usize = 32;
/// `noResultAvailable`.
const NO_RESULT: u8 = 1;
/// `undefinedError`.
const UNDEFINED: u8 = 127;

/// An event that a server wants to know of.
#[derive(Serialize, Deserialize)]
pub struct Notification {
    /// Its number; no other of this card has the same.
    pub sequence: u32,
    /// What happened.
    pub event: NotificationEvent,
    /// The server.
    pub address: String,
    /// To which profile.
    pub iccid: Iccid,
}

impl Notification {
    /// `NotificationMetadata`.
    fn metadata(&self) -> Vec<u8> {
        let members = [
            object(0x80, &integer(self.sequence)),
            object(0x81, &event_bits(core::slice::from_ref(&self.event))),
            object(0x0C, self.address.as_bytes()),
            object(0x5A, &self.iccid.coded()),
        ];
        object(0xBF2F, &members.concat())
    }
}

/// ES10b.ListNotification.
///
/// # Errors
/// `6581`: a record is not one of ours.
pub fn list(nvm: Part<'_, Uicc>, events: Events) -> Result<Vec<u8>, Status> {
    let registry = Registry::load(nvm)?;
    let wanted = registry.notifications().iter().filter(|notification| events.contains(notification.event));
    let list: Vec<u8> = wanted.flat_map(Notification::metadata).collect();
    Ok(object(0xBF28, &object(0xA0, &list)))
}

/// ES10b.RetrieveNotificationsList. A notification is retrieved signed, under the eUICC's and its manufacturer's
/// certificate: the card has neither, and says so.
///
/// # Errors
/// `6581`: a record is not one of ours.
pub fn retrieve(nvm: Part<'_, Uicc>, wanted: Wanted) -> Result<Vec<u8>, Status> {
    let is_wanted = |notification: &Notification| match wanted {
        Wanted::Sequence(sequence) => notification.sequence == sequence,
        Wanted::Of(events) => events.contains(notification.event),
    };
    let found = Registry::load(nvm)?.notifications().iter().any(is_wanted);
    Ok(object(0xBF2B, &object(0x81, &[if found { UNDEFINED } else { NO_RESULT }])))
}

/// Events as a bit string of named bits (ISO/IEC 8825-1, 8.6 and 11.2.2).
pub fn event_bits(events: &[NotificationEvent]) -> [u8; 2] {
    let bits = events.iter().fold(0, |bits, event| bits | *event as u8);
    [(bits.trailing_zeros() as u8).min(7), bits]
}

/// A number in as few bytes as it takes (ibid., 8.3).
fn integer(number: u32) -> Vec<u8> {
    let bytes = u64::from(number).to_be_bytes();
    let skip = bytes.windows(2).take_while(|pair| pair[0] == 0 && pair[1] < 0x80).count();
    bytes[skip..].to_vec()
}
