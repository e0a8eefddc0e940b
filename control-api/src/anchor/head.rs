//! A head that leaves the host: the only witness against who puts back older copies of store and anchor together.

use std::path::Path;

use jiff::Timestamp;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use super::{AnchorId, FileError, History, Mark};
use crate::audit::SigningKey;

const DOMAIN: &[u8] = b"cardhost anchor v1\0";

/// A point of the anchor's history, signed by the host. Ed25519 over `cardhost anchor v1`, a zero byte, the anchor's
/// id, the sequence number, the hash and the Unix time in seconds; numbers as 8 bytes, big-endian.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignedHead {
    /// The anchor's id, hexadecimal.
    #[serde(with = "hex")]
    #[schema(value_type = String)]
    pub anchor: [u8; 16],
    /// The number of batches up to here.
    pub sequence: u64,
    /// The chain hash after them, hexadecimal.
    #[serde(with = "hex")]
    #[schema(value_type = String)]
    pub hash: [u8; 32],
    /// When it was given out, RFC 3339.
    #[schema(value_type = String)]
    pub time: Timestamp,
    /// The signature, hexadecimal.
    #[serde(with = "hex")]
    #[schema(value_type = String)]
    pub signature: Vec<u8>,
    /// The key that signed, hexadecimal.
    #[serde(with = "hex")]
    #[schema(value_type = String)]
    pub public_key: Vec<u8>,
}

/// Why an anchor does not go on from an exported head.
#[derive(Debug, thiserror::Error)]
pub enum HeadFault {
    /// The host's key did not sign it.
    #[error("the head is not by this host")]
    Signature,
    /// It is of another anchor.
    #[error("the head is of another anchor")]
    OtherAnchor,
    /// The anchor ends before.
    #[error("the anchor is older than this head: it ends at batch {found}, the head is of batch {exported}")]
    Older {
        /// The anchor's last batch.
        found: u64,
        /// The head's.
        exported: u64,
    },
    /// The anchor's history is another one.
    #[error("the anchor has another history: it does not pass through this head")]
    OtherHistory,
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
}

impl SignedHead {
    /// Signs a head that is given out now.
    pub fn sign(id: AnchorId, mark: Mark, key: &SigningKey) -> Self {
        let now = Timestamp::now().as_second();
        let mut head = Self {
            anchor: id.0,
            sequence: mark.sequence,
            hash: mark.hash.0,
            time: Timestamp::from_second(now).expect("a time of today"),
            signature: Vec::new(),
            public_key: key.public().to_vec(),
        };
        head.signature = key.sign(&head.signed_bytes());
        head
    }

    /// Checks that the host of this public key signed it.
    pub fn verify(&self, public_key: &[u8]) -> Result<(), HeadFault> {
        let key = UnparsedPublicKey::new(&ED25519, public_key);
        key.verify(&self.signed_bytes(), &self.signature).map_err(|_| HeadFault::Signature)
    }

    /// Checks that the history in this file passes through it; gives the file's last batch.
    pub fn is_passed_by(&self, path: &Path) -> Result<Mark, HeadFault> {
        let mine = Mark { sequence: self.sequence, hash: super::ChainHash(self.hash) };
        let mut passed = false;
        let history = History::read(path, |mark| passed |= mark == mine)?;
        let found = history.mark;
        match () {
            () if history.id.0 != self.anchor => Err(HeadFault::OtherAnchor),
            () if passed || history.contents.exported.contains(&mine) => Ok(found),
            () if found.sequence < self.sequence => {
                Err(HeadFault::Older { found: found.sequence, exported: self.sequence })
            }
            () => Err(HeadFault::OtherHistory),
        }
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let time = self.time.as_second().to_be_bytes();
        [DOMAIN, &self.anchor, &self.sequence.to_be_bytes(), &self.hash, &time].concat()
    }
}
