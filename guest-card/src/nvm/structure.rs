//! Structures in records. Each begins with its format's version, so that a later image can read what an earlier one
//! wrote.

use alloc::vec::Vec;

use cardhost_wire::status::Status;
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::{Part, RecordName};
use crate::container::Owner;

const FORMAT: u8 = 1;
/// Longest record of a structure with secrets: an RSA-3072 key with its public half takes 800 bytes.
const LONGEST_STRUCTURE: usize = 1024;

/// Writes a structure.
pub fn encode<T: Serialize>(structure: &T) -> Zeroizing<Vec<u8>> {
    // The capacity is fixed first: a vector that grows would leave copies of its secrets behind.
    let mut bytes = Vec::with_capacity(LONGEST_STRUCTURE);
    bytes.push(FORMAT);
    Zeroizing::new(postcard::to_extend(structure, bytes).expect("our structures are encodable"))
}

/// Reads a structure.
///
/// # Errors
/// `6581`: the record is not one of ours.
pub fn decode<T: DeserializeOwned>(content: &[u8]) -> Result<T, Status> {
    match content.split_first() {
        Some((&FORMAT, rest)) => match postcard::take_from_bytes(rest) {
            Ok((structure, [])) => Ok(structure),
            _ => Err(Status::MEMORY_FAILURE),
        },
        _ => Err(Status::MEMORY_FAILURE),
    }
}

/// Reads the structure in a record, if the record is there.
///
/// # Errors
/// See [`decode`].
pub fn load<T: DeserializeOwned, C: Owner>(
    nvm: Part<'_, C>,
    name: RecordName<C>,
) -> Result<Option<T>, Status> {
    nvm.read(name).map(decode).transpose()
}
