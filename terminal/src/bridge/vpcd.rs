//! The card's side of vpcd's protocol (vsmartcard, "virtual smart card reader"): TCP, the card connects.
//!
//! Both ways: a big-endian u16 length, then as many bytes. From vpcd one byte is a control request, more are a
//! command APDU; the ATR request and each command have exactly one answer. End of file takes the card out.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use zeroize::Zeroizing;

/// Bytes of the length prefix.
const PREFIX: usize = 2;
/// Longest payload, by the prefix.
const MAX_PAYLOAD: usize = 65_535;

/// Why the reader slot went away.
#[derive(Debug, thiserror::Error)]
pub enum VpcdError {
    /// vpcd closed the connection, or cannot be reached.
    #[error("vpcd: {0}")]
    Io(#[from] io::Error),
    /// vpcd sent what its protocol does not have.
    #[error("vpcd sent a malformed message")]
    Malformed,
}

/// What vpcd asks for. No `Debug`: a command may hold a PIN.
#[derive(PartialEq, Eq)]
pub enum Request {
    /// Power off. No answer.
    PowerOff,
    /// Power on. No answer.
    PowerOn,
    /// Reset. No answer.
    Reset,
    /// The ATR is to be sent; vpcd asks continually to see whether the card is there.
    Atr,
    /// A command APDU, to be answered by a response APDU.
    Command(Zeroizing<Vec<u8>>),
}

/// A reader slot with our card in it.
pub struct Vpcd {
    stream: TcpStream,
    received: Zeroizing<Vec<u8>>,
}

impl Vpcd {
    /// Puts the card into the slot.
    pub async fn connect(address: SocketAddr) -> Result<Self, VpcdError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        // Never reallocated, so that no copy of a PIN stays behind.
        let received = Zeroizing::new(Vec::with_capacity(2 * (PREFIX + MAX_PAYLOAD)));
        Ok(Self { stream, received })
    }

    /// The next request. Cancelled, it loses nothing.
    pub async fn next_request(&mut self) -> Result<Request, VpcdError> {
        loop {
            if let Some(payload) = self.take_payload() {
                return parse(payload);
            }
            // vpcd sends length and body in two writes without TCP_NODELAY: its second write waits for our
            // acknowledgement of the first, which the kernel would delay by 40 ms.
            self.stream.set_quickack(true)?;
            if self.stream.read_buf(&mut *self.received).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    /// Answers a request, in one write.
    pub async fn reply(&mut self, payload: &[u8]) -> Result<(), VpcdError> {
        let length = u16::try_from(payload.len()).map_err(|_| VpcdError::Malformed)?;
        let mut message = Zeroizing::new(Vec::with_capacity(PREFIX + payload.len()));
        message.extend(length.to_be_bytes());
        message.extend_from_slice(payload);
        self.stream.write_all(&message).await?;
        Ok(())
    }

    fn take_payload(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        let (prefix, rest) = self.received.split_first_chunk::<PREFIX>()?;
        let length = usize::from(u16::from_be_bytes(*prefix));
        let payload = Zeroizing::new(rest.get(..length)?.to_vec());
        self.received.drain(..PREFIX + length);
        Some(payload)
    }
}

fn parse(payload: Zeroizing<Vec<u8>>) -> Result<Request, VpcdError> {
    match payload.as_slice() {
        [0x00] => Ok(Request::PowerOff),
        [0x01] => Ok(Request::PowerOn),
        [0x02] => Ok(Request::Reset),
        [0x04] => Ok(Request::Atr),
        [] | [_] => Err(VpcdError::Malformed),
        _ => Ok(Request::Command(payload)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn slot() -> (Vpcd, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (card, reader) = tokio::join!(Vpcd::connect(listener.local_addr().unwrap()), listener.accept());
        (card.unwrap(), reader.unwrap().0)
    }

    #[tokio::test]
    async fn requests_arrive_however_the_stream_is_cut() {
        let stream = [&[0, 1, 4][..], &[0, 1, 1], &[0, 5, 0, 0xA4, 4, 0, 0], &[0, 1, 0], &[0, 1, 2]].concat();
        for cut in 1..stream.len() {
            let (mut card, mut reader) = slot().await;
            let sent = tokio::spawn({
                let chunks: Vec<_> = stream.chunks(cut).map(<[u8]>::to_vec).collect();
                async move {
                    for chunk in chunks {
                        reader.write_all(&chunk).await.unwrap();
                    }
                    reader
                }
            });
            assert!(card.next_request().await.unwrap() == Request::Atr);
            assert!(card.next_request().await.unwrap() == Request::PowerOn);
            let command = Zeroizing::new(vec![0, 0xA4, 4, 0, 0]);
            assert!(card.next_request().await.unwrap() == Request::Command(command));
            assert!(card.next_request().await.unwrap() == Request::PowerOff);
            assert!(card.next_request().await.unwrap() == Request::Reset);
            drop(sent.await.unwrap());
            assert!(matches!(card.next_request().await, Err(VpcdError::Io(_))));
        }
    }

    #[tokio::test]
    async fn unknown_control_bytes_and_empty_messages_are_refused() {
        for message in [&[0, 0][..], &[0, 1, 3], &[0, 1, 0xFF]] {
            let (mut card, mut reader) = slot().await;
            reader.write_all(message).await.unwrap();
            assert!(matches!(card.next_request().await, Err(VpcdError::Malformed)));
        }
    }

    #[tokio::test]
    async fn an_answer_has_its_length_before_it() {
        let (mut card, mut reader) = slot().await;
        card.reply(&[0x90, 0x00]).await.unwrap();
        let mut received = [0; 4];
        reader.read_exact(&mut received).await.unwrap();
        assert_eq!(received, [0, 2, 0x90, 0x00]);
        assert!(matches!(card.reply(&vec![0; 65_536]).await, Err(VpcdError::Malformed)));
    }
}
