//! The anchor's head in the host's TPM: a witness that nobody puts back with a disk.
//!
//! ```text
//! start ─▶ head that the TPM keeps: does the anchor's history pass through it? ─yes─▶ present head ─▶ TPM
//!                                                   │ no: refused until an operator accepts it    ▲
//!                                                   └─────────────────────────────────────────────┤
//!                                                   each hour, if the anchor went on; at the end ─┘
//! ```
//!
//! The head is durable in the anchor, as one that was given out, before the TPM has it: so the anchor is never behind the
//! TPM by itself, and a `kill -9` raises no alarm. The launcher, which has the TPM, writes it for the daemon.

use std::{path::Path, time::Duration};

use cardhost_wire::custody::{KEPT, Kept};
use tokio::{
    sync::{Mutex, watch},
    time::{MissedTickBehavior, interval},
};

use super::{Anchor, AnchorError, AnchorId, ChainHash, FileError, History, Mark, Settings};
use crate::{
    audit::{Action, Audit, Entry},
    launcher::Launcher,
    store::Store,
};

/// Between two writes. A TPM's memory bears some hundred thousand: these last for ten years.
pub const INTERVAL: Duration = Duration::from_secs(60 * 60);
const VERSION: [u8; 8] = [1, 0, 0, 0, 0, 0, 0, 0];

/// The TPM as the anchor's witness.
pub struct Witness {
    launcher: Launcher,
    /// What the TPM keeps, as far as is known: it is not worn by writing the same again.
    told: Mutex<Option<Kept>>,
}

impl Witness {
    /// The TPM that this launcher has.
    pub fn new(launcher: Launcher) -> Self {
        Self { launcher, told: Mutex::default() }
    }

    /// Compares the anchor with the TPM, before it is opened. If an operator accepts what contradicts it, that is audited.
    pub async fn admit(&self, settings: &Settings, store: &Store, audit: &Audit) -> Result<(), AnchorError> {
        let Err(why) = self.compare(&settings.path).await else { return Ok(()) };
        if !settings.accept_new || !contradicts(&why) {
            return Err(why);
        }
        tracing::warn!(%why, "the store's present state is accepted though the TPM contradicts it");
        let entry = Entry::new(Action::AnchorReplaced).detail("reason", why);
        let audit = audit.clone();
        Ok(store.write(move |transaction| audit.append(transaction, &entry)).await?)
    }

    async fn compare(&self, path: &Path) -> Result<(), AnchorError> {
        let kept = self.launcher.kept().await?;
        self.told.lock().await.clone_from(&kept);
        let Some(kept) = kept else { return Ok(()) };
        let (id, mark) = decode(&kept).ok_or(AnchorError::UnknownTpmHead)?;
        let mut passed = false;
        let history = History::read(path, |at| passed |= at == mark).map_err(|error| missing(path, error))?;
        if history.id == id && (passed || history.contents.exported.contains(&mark)) {
            return Ok(());
        }
        let found = history.mark.sequence;
        Err(AnchorError::ContradictsTpm { path: path.into(), found, kept: mark.sequence })
    }

    /// Has the TPM keep the anchor's present head, if that is news.
    pub async fn tell(&self, anchor: &Anchor) -> Result<(), AnchorError> {
        let kept = encode(anchor.id(), anchor.export().await?);
        let mut told = self.told.lock().await;
        if told.as_ref() != Some(&kept) {
            self.launcher.keep(kept.clone()).await?;
            *told = Some(kept);
            metrics::counter!("cardhost_anchor_tpm_writes_total").increment(1);
        }
        Ok(())
    }

    /// Tells the TPM at intervals until the daemon ends.
    pub async fn keep_telling(&self, anchor: Anchor, every: Duration, mut end: watch::Receiver<bool>) {
        let mut moments = interval(every);
        moments.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first is at once, and the start has told already.
        moments.tick().await;
        loop {
            tokio::select! {
                _ = moments.tick() => {}
                _ = end.wait_for(|end| *end) => return,
            }
            if let Err(error) = self.tell(&anchor).await {
                metrics::counter!("cardhost_anchor_tpm_failures_total").increment(1);
                tracing::error!(%error, "the TPM does not take the anchor's head; it is told again in time");
            }
        }
    }
}

/// No anchor is not the one that the TPM knows.
fn missing(path: &Path, error: FileError) -> AnchorError {
    match &error {
        FileError::Unusable { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            AnchorError::Missing(path.into())
        }
        _ => error.into(),
    }
}

const fn contradicts(why: &AnchorError) -> bool {
    use FileError::{Damaged, NotAnAnchor};
    matches!(
        why,
        AnchorError::ContradictsTpm { .. }
            | AnchorError::UnknownTpmHead
            | AnchorError::Missing(_)
            | AnchorError::File(Damaged { .. } | NotAnAnchor(_))
    )
}

/// Version 1 and seven zeros; the anchor's id, 16 bytes; sequence number, 8 bytes, big-endian; chain hash, 32 bytes.
fn encode(id: AnchorId, mark: Mark) -> Kept {
    let bytes = [&VERSION[..], &id.0, &mark.sequence.to_be_bytes(), &mark.hash.0].concat();
    debug_assert_eq!(bytes.len(), KEPT);
    Kept(bytes)
}

fn decode(kept: &Kept) -> Option<(AnchorId, Mark)> {
    let rest = kept.0.strip_prefix(&VERSION)?;
    let (id, rest) = rest.split_first_chunk()?;
    let (sequence, hash) = rest.split_first_chunk()?;
    let mark = Mark { sequence: u64::from_be_bytes(*sequence), hash: ChainHash(hash.try_into().ok()?) };
    Some((AnchorId(*id), mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What version 1 had a TPM keep must be read for ever.
    #[test]
    fn the_frozen_head_of_version_1_is_read() {
        let id = AnchorId([0xA1; 16]);
        let mark = Mark { sequence: 0x0102_0304_0506_0708, hash: ChainHash([0xB2; 32]) };
        let frozen = [
            &hex::decode("0100000000000000").unwrap()[..],
            &[0xA1; 16],
            &[1, 2, 3, 4, 5, 6, 7, 8],
            &[0xB2; 32],
        ]
        .concat();
        assert_eq!(encode(id, mark), Kept(frozen.clone()));
        assert_eq!(decode(&Kept(frozen.clone())), Some((id, mark)));
        assert_eq!(decode(&Kept([&[2], &frozen[1..]].concat())), None);
        assert_eq!(decode(&Kept(frozen[1..].to_vec())), None);
    }
}
