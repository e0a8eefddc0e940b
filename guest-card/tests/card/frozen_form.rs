//! The form in which states were frozen when PIV keys were the only credentials: a commit's then.

use cardhost_wire::control::{Commit, Credential, KeyCredential, SealedRecord};

/// Reads such a state.
pub fn frozen_with_keys(bytes: &[u8]) -> Commit {
    type Frozen = (u64, Vec<SealedRecord>, Vec<u16>, Vec<u8>, Vec<KeyCredential>);
    let (epoch, put, delete, head, keys): Frozen = postcard::from_bytes(bytes).unwrap();
    let credentials = keys.into_iter().map(Credential::Key).collect();
    Commit { epoch, put, delete, head, credentials }
}
