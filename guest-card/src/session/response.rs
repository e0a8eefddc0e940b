//! Cutting a response by Le, and GET RESPONSE for the rest (ISO/IEC 7816-4, 5.3.4 and 11.7.1).

use alloc::vec::Vec;

use cardhost_wire::{
    apdu::{CommandApdu, ResponseApdu},
    status::Status,
};
use zeroize::Zeroizing;

/// What a command without Le may answer at once.
const WITHOUT_LE: usize = 256;

/// Response data that the terminal has not fetched yet.
pub struct Pending {
    channel: usize,
    data: Zeroizing<Vec<u8>>,
    sent: usize,
    /// What the last piece ends with.
    status: Status,
}

impl Default for Pending {
    fn default() -> Self {
        Self::new(0, Status::SUCCESS.into())
    }
}

impl Pending {
    /// A whole response of this channel, nothing of it sent.
    pub fn new(channel: usize, response: ResponseApdu) -> Self {
        Self { channel, data: Zeroizing::new(response.data), sent: 0, status: response.status }
    }

    /// The next piece of at most Le bytes with the response's status, or `61xx` while more waits.
    pub fn next(&mut self, le: Option<u32>) -> ResponseApdu {
        let limit = le.map_or(WITHOUT_LE, |le| le as usize);
        let (_, rest) = self.data.split_at(self.sent);
        let data = rest[..rest.len().min(limit)].to_vec();
        self.sent += data.len();
        ResponseApdu { data, status: self.status() }
    }

    /// GET RESPONSE.
    ///
    /// # Errors
    /// `6985`: nothing waits on this channel; `6A86`.
    pub fn fetch(&mut self, channel: usize, command: &CommandApdu<'_>) -> Result<ResponseApdu, Status> {
        match command.p1_p2() {
            0 if self.remaining() > 0 && self.channel == channel => Ok(self.next(command.le)),
            0 => Err(Status::CONDITIONS_NOT_SATISFIED),
            _ => Err(Status::INCORRECT_P1_P2),
        }
    }

    /// True if nothing waits for GET RESPONSE.
    pub fn is_idle(&self) -> bool {
        self.remaining() == 0
    }

    fn remaining(&self) -> usize {
        self.data.len() - self.sent
    }

    fn status(&self) -> Status {
        match self.remaining() {
            0 => self.status,
            remaining => Status::more_data(remaining),
        }
    }
}
