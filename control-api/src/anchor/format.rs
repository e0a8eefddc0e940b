//! The anchor file's format, version 1. Numbers are big-endian.
//!
//! ```text
//! file    = header checkpoint cards* exported* complete (batch | exported)*
//! header  = "cardhost anchor\0" ‖ version (u32) ‖ anchor id (16 bytes)
//! record  = kind (u8) ‖ length of the payload (u32) ‖ payload ‖ check (32 bytes)
//! check   = SHA-256(chain hash ‖ kind ‖ length ‖ payload)
//! ```
//!
//! The chain hash is SHA-256 of the header at first, the checkpoint's own one after a checkpoint, and a batch's check
//! after that batch. So each batch stands for all before it, and a file that was written anew goes on with the chain.
//!
//! | kind | payload |
//! |---|---|
//! | 1 checkpoint | sequence (u64), chain hash |
//! | 2 cards | cards as they were at the checkpoint |
//! | 3 exported | heads that were given out: sequence (u64), chain hash |
//! | 4 complete | how many cards (u64) and exported heads (u64) belong to the checkpoint |
//! | 5 batch | sequence (u64), Unix time in seconds (i64), changed cards |
//!
//! A card is its id (16 bytes), its epoch (u64) and the digest of its head (16 bytes); the epoch 2⁶⁴-1 with a digest
//! of zeros says that it was destroyed.

use std::io::{self, Read};

use cardhost_wire::control::CardId;
use sha2::{Digest as _, Sha256};

use super::{AnchorId, Anchored, ChainHash, Mark, StateDigest};

/// The version that this host writes.
pub(super) const VERSION: u32 = 1;
/// Cards in one record at most.
pub(super) const MAX_CARDS: usize = 4096;
/// Bytes of a header.
pub(super) const HEADER: usize = MAGIC.len() + 4 + 16;
/// Bytes of a card.
pub(super) const CARD: usize = 40;
/// Bytes of an exported head.
pub(super) const MARK: usize = 40;
/// Bytes of a record at most.
pub(super) const MAX_RECORD: usize = FRAME + MAX_PAYLOAD + CHECK;

const MAGIC: &[u8; 16] = b"cardhost anchor\0";
const FRAME: usize = 5;
const CHECK: usize = 32;
const MAX_PAYLOAD: usize = 16 + MAX_CARDS * CARD;
const DESTROYED: u64 = u64::MAX;

/// A card and what is anchored of it.
pub(super) type CardEntry = (CardId, Anchored);

/// A record of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Where the chain stood when the file was written anew.
    Checkpoint(Mark),
    /// Cards of the checkpoint.
    Cards(Vec<CardEntry>),
    /// Heads that were given out.
    Exported(Vec<Mark>),
    /// The checkpoint is whole with so many cards and exported heads.
    Complete { cards: u64, exported: u64 },
    /// What changed since the batch before.
    Batch { sequence: u64, time: i64, changes: Vec<CardEntry> },
}

/// The header of an anchor.
pub(super) fn header(id: AnchorId) -> Vec<u8> {
    [&MAGIC[..], &VERSION.to_be_bytes(), &id.0].concat()
}

/// What a header says: the version, and the id if the version is known.
pub(super) fn read_header(bytes: &[u8; HEADER]) -> Option<(u32, AnchorId)> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (version, id) = rest.split_first_chunk()?;
    Some((u32::from_be_bytes(*version), AnchorId(id.try_into().ok()?)))
}

/// The chain hash before the first record.
pub(super) fn first_hash(id: AnchorId) -> ChainHash {
    ChainHash(Sha256::digest(header(id)).into())
}

impl Record {
    /// The record's bytes after this chain hash, and the chain hash after it.
    pub(super) fn encode(&self, chain: ChainHash) -> (Vec<u8>, ChainHash) {
        let payload = self.payload();
        let length = u32::try_from(payload.len()).expect("records are short");
        let mut bytes = Vec::with_capacity(FRAME + payload.len() + CHECK);
        bytes.push(self.kind());
        bytes.extend(length.to_be_bytes());
        bytes.extend(payload);
        let check = check(chain, &bytes);
        bytes.extend(check.0);
        (bytes, self.follow(chain, check))
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Checkpoint(_) => 1,
            Self::Cards(_) => 2,
            Self::Exported(_) => 3,
            Self::Complete { .. } => 4,
            Self::Batch { .. } => 5,
        }
    }

    fn payload(&self) -> Vec<u8> {
        match self {
            Self::Checkpoint(mark) => mark_bytes(mark).to_vec(),
            Self::Cards(cards) => cards.iter().flat_map(card_bytes).collect(),
            Self::Exported(marks) => marks.iter().flat_map(mark_bytes).collect(),
            Self::Complete { cards, exported } => [cards.to_be_bytes(), exported.to_be_bytes()].concat(),
            Self::Batch { sequence, time, changes } => {
                let mut payload = [sequence.to_be_bytes(), time.to_be_bytes()].concat();
                payload.extend(changes.iter().flat_map(card_bytes));
                payload
            }
        }
    }

    fn decode(kind: u8, payload: &[u8]) -> Option<Self> {
        match kind {
            1 => read_mark(payload.try_into().ok()?).map(Self::Checkpoint),
            2 => read_all(payload, read_card).map(Self::Cards),
            3 => read_all(payload, read_mark).map(Self::Exported),
            4 => {
                let (cards, exported) = payload.split_first_chunk()?;
                let exported = u64::from_be_bytes(exported.try_into().ok()?);
                Some(Self::Complete { cards: u64::from_be_bytes(*cards), exported })
            }
            5 => {
                let (sequence, rest) = payload.split_first_chunk()?;
                let (time, changes) = rest.split_first_chunk()?;
                let (sequence, time) = (u64::from_be_bytes(*sequence), i64::from_be_bytes(*time));
                Some(Self::Batch { sequence, time, changes: read_all(changes, read_card)? })
            }
            _ => None,
        }
    }

    fn follow(&self, chain: ChainHash, check: ChainHash) -> ChainHash {
        match self {
            Self::Checkpoint(mark) => mark.hash,
            Self::Batch { .. } => check,
            Self::Cards(_) | Self::Exported(_) | Self::Complete { .. } => chain,
        }
    }
}

/// Reads records until the first that is not whole.
pub(super) struct Records<R> {
    input: R,
    chain: ChainHash,
    position: u64,
}

impl<R: Read> Records<R> {
    /// The records after the header.
    pub(super) fn after_header(input: R, id: AnchorId) -> Self {
        Self { input, chain: first_hash(id), position: HEADER as u64 }
    }

    /// Where the whole records that were read end, bytes from the file's beginning.
    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// The chain hash after the records that were read.
    pub(super) const fn chain(&self) -> ChainHash {
        self.chain
    }

    /// The next record, `None` if there is none that is whole.
    pub(super) fn next(&mut self) -> io::Result<Option<Record>> {
        let Some(framed) = self.framed()? else { return Ok(None) };
        let mut found = [0; CHECK];
        if !read_whole(&mut self.input, &mut found)? || check(self.chain, &framed).0 != found {
            return Ok(None);
        }
        let Some(record) = Record::decode(framed[0], &framed[FRAME..]) else { return Ok(None) };
        self.position += (framed.len() + CHECK) as u64;
        self.chain = record.follow(self.chain, ChainHash(found));
        Ok(Some(record))
    }

    /// Kind, length and payload.
    fn framed(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut frame = [0; FRAME];
        if !read_whole(&mut self.input, &mut frame)? {
            return Ok(None);
        }
        let [_, length @ ..] = frame;
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_PAYLOAD {
            return Ok(None);
        }
        let mut framed = frame.to_vec();
        framed.resize(FRAME + length, 0);
        Ok(read_whole(&mut self.input, &mut framed[FRAME..])?.then_some(framed))
    }
}

/// False if the input ends before.
fn read_whole(input: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn check(chain: ChainHash, framed: &[u8]) -> ChainHash {
    ChainHash(Sha256::new().chain_update(chain.0).chain_update(framed).finalize().into())
}

fn card_bytes((card, anchored): &CardEntry) -> [u8; CARD] {
    let (epoch, digest) = match anchored {
        Anchored::At { epoch, digest } => (*epoch, digest.0),
        Anchored::Destroyed => (DESTROYED, [0; 16]),
    };
    let mut bytes = [0; CARD];
    bytes[..16].copy_from_slice(card);
    bytes[16..24].copy_from_slice(&epoch.to_be_bytes());
    bytes[24..].copy_from_slice(&digest);
    bytes
}

fn read_card(bytes: &[u8; CARD]) -> Option<CardEntry> {
    let (card, rest) = bytes.split_first_chunk()?;
    let (epoch, digest) = rest.split_first_chunk()?;
    let digest = StateDigest(digest.try_into().ok()?);
    let anchored = match u64::from_be_bytes(*epoch) {
        DESTROYED if digest == StateDigest::default() => Anchored::Destroyed,
        DESTROYED => return None,
        epoch => Anchored::At { epoch, digest },
    };
    Some((*card, anchored))
}

fn mark_bytes(mark: &Mark) -> [u8; MARK] {
    let mut bytes = [0; MARK];
    bytes[..8].copy_from_slice(&mark.sequence.to_be_bytes());
    bytes[8..].copy_from_slice(&mark.hash.0);
    bytes
}

fn read_mark(bytes: &[u8; MARK]) -> Option<Mark> {
    let (sequence, hash) = bytes.split_first_chunk()?;
    Some(Mark { sequence: u64::from_be_bytes(*sequence), hash: ChainHash(hash.try_into().ok()?) })
}

fn read_all<T, const N: usize>(bytes: &[u8], read: impl Fn(&[u8; N]) -> Option<T>) -> Option<Vec<T>> {
    let (chunks, []) = bytes.as_chunks::<N>() else { return None };
    chunks.iter().map(read).collect()
}
