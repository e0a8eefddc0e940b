//! Cutting a response by Le, and GET RESPONSE for the rest (ISO/IEC 7816-4, 5.3.4 and 11.7.1).

use alloc::vec::Vec;

use cardhost_wire::{apdu::ResponseApdu, status::Status};
use zeroize::Zeroizing;

/// What a command without Le may answer at once.
const WITHOUT_LE: usize = 256;

/// Response data that the terminal has not fetched yet.
#[derive(Default)]
pub struct Pending {
    data: Zeroizing<Vec<u8>>,
    sent: usize,
}

impl Pending {
    /// A whole response, nothing of it sent.
    pub fn new(data: Vec<u8>) -> Self {
        Self { data: Zeroizing::new(data), sent: 0 }
    }

    /// The next piece of at most Le bytes with `9000`, or `61xx` while more waits.
    pub fn next(&mut self, le: Option<u32>) -> ResponseApdu {
        let limit = le.map_or(WITHOUT_LE, |le| le as usize);
        let end = self.data.len().min(self.sent.saturating_add(limit));
        let data = self.data[self.sent..end].to_vec();
        self.sent = end;
        ResponseApdu { data, status: self.status() }
    }

    /// True if something waits to be fetched.
    pub fn is_waiting(&self) -> bool {
        self.sent < self.data.len()
    }

    fn status(&self) -> Status {
        match self.data.len() - self.sent {
            0 => Status::SUCCESS,
            remaining => Status::more_data(remaining),
        }
    }
}
