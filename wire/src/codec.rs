//! The one encoding of structured messages: postcard, decoded strictly.

use alloc::vec::Vec;
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

/// Encodes a message. Infallible: the types here hold nothing that postcard cannot encode.
pub(crate) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    postcard::to_allocvec(message).expect("wire types are encodable")
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
