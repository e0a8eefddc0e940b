//! The one encoding of structured messages: postcard, decoded strictly.

use alloc::vec::Vec;
use postcard::ser_flavors::Size;
use serde::{Serialize, de::DeserializeOwned};

/// The peer's message is malformed, truncated or has trailing bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError;

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("malformed message from the peer")
    }
}

impl core::error::Error for DecodeError {}

/// Encodes a message. Infallible: the types here hold nothing that postcard cannot encode. The bytes never move:
/// a buffer that grew would leave parts of a secret behind, where the caller cannot erase them.
pub(crate) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let size = postcard::serialize_with_flavor(message, Size::default()).expect("wire types are encodable");
    postcard::to_extend(message, Vec::with_capacity(size)).expect("wire types are encodable")
}

/// Decodes exactly one message; trailing bytes are an error.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        _ => Err(DecodeError),
    }
}

/// Gives a message type its `encode` and `decode`.
macro_rules! message {
    ($type:ty) => {
        impl $type {
            /// The message's bytes (postcard).
            pub fn encode(&self) -> alloc::vec::Vec<u8> {
                $crate::codec::encode(self)
            }

            /// Reads exactly one message; trailing bytes are an error.
            pub fn decode(bytes: &[u8]) -> Result<Self, $crate::DecodeError> {
                $crate::codec::decode(bytes)
            }
        }
    };
}
pub(crate) use message;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{GuestMessage, HostMessage};

    #[test]
    fn a_message_is_encoded_into_a_buffer_of_its_size() {
        let message = HostMessage::Start(Some(alloc::vec![7; 1000])).encode();
        assert_eq!(message.capacity(), message.len());
        assert!(
            matches!(HostMessage::decode(&message), Ok(HostMessage::Start(Some(head))) if head.len() == 1000)
        );
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut message = GuestMessage::Panic("why".into()).encode();
        assert!(GuestMessage::decode(&message).is_ok());
        message.push(0);
        assert!(matches!(GuestMessage::decode(&message), Err(DecodeError)));
    }
}
