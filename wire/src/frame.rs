//! Messages on a vsock stream: a little-endian u32 length, then that many bytes.
//!
//! On an APDU port a message is one command or one response APDU; on the control port one
//! [`control`](crate::control) message.

use alloc::vec::Vec;

/// Longest message: a whole extended APDU with room for a control message around one.
pub const MAX_MESSAGE: usize = 72 * 1024;
/// Bytes of the length prefix.
pub const PREFIX: usize = 4;

/// The peer announced a message longer than [`MAX_MESSAGE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageTooLong;

impl core::fmt::Display for MessageTooLong {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the peer announced a message beyond the limit")
    }
}

impl core::error::Error for MessageTooLong {}

/// The length prefix of a message of `length` bytes.
pub const fn prefix(length: usize) -> [u8; PREFIX] {
    (length as u32).to_le_bytes()
}

/// A message with its prefix.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(PREFIX + message.len());
    out.extend(prefix(message.len()));
    out.extend_from_slice(message);
    out
}

/// Reassembles messages from the stream's chunks. Memory follows what has arrived, not what was announced.
#[derive(Default)]
pub struct FrameReader {
    buffered: Vec<u8>,
}

impl FrameReader {
    /// A reader at the start of a stream.
    pub const fn new() -> Self {
        Self { buffered: Vec::new() }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffered.extend_from_slice(chunk);
    }

    /// The next whole message, if it has arrived.
    pub fn next_message(&mut self) -> Result<Option<Vec<u8>>, MessageTooLong> {
        let Some(prefix) = self.buffered.first_chunk() else { return Ok(None) };
        let length = u32::from_le_bytes(*prefix) as usize;
        if length > MAX_MESSAGE {
            return Err(MessageTooLong);
        }
        let end = PREFIX + length;
        if self.buffered.len() < end {
            return Ok(None);
        }
        if self.buffered.len() == end {
            let mut message = core::mem::take(&mut self.buffered);
            message.drain(..PREFIX);
            return Ok(Some(message));
        }
        let message = self.buffered[PREFIX..end].to_vec();
        self.buffered.drain(..end);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_however_the_stream_is_cut() {
        let stream: Vec<u8> = [framed(b"one"), framed(b""), framed(b"three")].concat();
        for cut in 1..stream.len() {
            let mut reader = FrameReader::new();
            let mut seen = Vec::new();
            for chunk in stream.chunks(cut) {
                reader.push(chunk);
                while let Some(message) = reader.next_message().unwrap() {
                    seen.push(message);
                }
            }
            assert_eq!(seen, [&b"one"[..], b"", b"three"]);
        }
    }

    #[test]
    fn an_announced_giant_is_refused_before_it_arrives() {
        let mut reader = FrameReader::new();
        reader.push(&prefix(MAX_MESSAGE + 1));
        assert_eq!(reader.next_message(), Err(MessageTooLong));
    }
}
