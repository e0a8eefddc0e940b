//! The host's wrapping keys, seen from the daemon: it has the launcher rotate them, and carries the wrapped card keys
//! over ([`cardhost_wire::wrapping`]).
//!
//! ```text
//! finish what was interrupted ─▶ Rotate ─▶ ┌─ cards of the bucket not under the present key? ─none─▶ Retire
//!                                          └──── Rewrap, store what is unchanged meanwhile ◀──┘
//! ```
//!
//! When [`WrappingKeys::rotate`] returns, no key that the host still has opens an earlier copy of a wrapped key of
//! that bucket. A crash anywhere leaves both generations, and a rotation to finish.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cardhost_wire::wrapping::{Bucket, KeyReply, KeyRequest, MAX_CARDS, WrappedCard, WrappingKey};
use tokio::sync::{self, oneshot};

use crate::{
    launcher::{Launcher, LauncherError},
    store::{
        Store, StoreError,
        wrapped_keys::{self, Replacement},
    },
};

/// Wrapped keys that are stored together.
const STORED_TOGETHER: usize = 4096;

/// Why a rotation is not finished; it is taken up again later.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WrappingError {
    /// The launcher.
    #[error("the wrapping keys cannot be changed now")]
    Launcher(#[from] LauncherError),
    /// The store.
    #[error("the wrapped keys cannot be carried over now")]
    Store(#[source] Arc<StoreError>),
}

impl From<StoreError> for WrappingError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// A bucket to rotate, and who waits for it.
struct Wish {
    bucket: Bucket,
    answer: oneshot::Sender<Result<WrappingKey, WrappingError>>,
}

/// The wrapping keys. Cloning gives another handle of the same.
#[derive(Clone)]
pub struct WrappingKeys(Arc<Inner>);

struct Inner {
    store: Store,
    launcher: Launcher,
    wishes: Mutex<Vec<Wish>>,
    /// Held by the one who works; the others wait, and find their wish fulfilled along with others'.
    turn: sync::Mutex<()>,
}

impl WrappingKeys {
    /// The wrapping keys of this launcher, which wrap the card keys in this store.
    pub fn new(store: Store, launcher: Launcher) -> Self {
        let (wishes, turn) = Default::default();
        Self(Arc::new(Inner { store, launcher, wishes, turn }))
    }

    /// Destroys all that ever wrapped keys of this bucket, and gives it a new key; tells which. The bucket's cards are
    /// carried over.
    ///
    /// # Errors
    /// See [`WrappingError`]. The rotation may have begun: [`Self::finish`] or the next one finishes it.
    pub async fn rotate(&self, bucket: Bucket) -> Result<WrappingKey, WrappingError> {
        loop {
            let (answer, mut answered) = oneshot::channel();
            self.wishes().push(Wish { bucket, answer });
            let _turn = self.0.turn.lock().await;
            if let Ok(fulfilled) = answered.try_recv() {
                return fulfilled;
            }
            let wishes = std::mem::take(&mut *self.wishes());
            self.fulfil(wishes).await;
            // Dropped without an answer if one who worked for it earlier was cancelled.
            if let Ok(fulfilled) = answered.try_recv() {
                return fulfilled;
            }
        }
    }

    /// The same for several buckets, with two replacements of the host key's file for all of them.
    ///
    /// # Errors
    /// See [`WrappingError`].
    pub async fn rotate_together(&self, buckets: &[Bucket]) -> Result<Vec<WrappingKey>, WrappingError> {
        let _turn = self.0.turn.lock().await;
        self.rotate_all(buckets.into()).await
    }

    /// Finishes rotations that were interrupted, and the move from a host key file of version 1.
    ///
    /// # Errors
    /// See [`WrappingError`].
    pub async fn finish(&self) -> Result<(), WrappingError> {
        let _turn = self.0.turn.lock().await;
        self.finish_interrupted().await
    }

    async fn fulfil(&self, wishes: Vec<Wish>) {
        let mut buckets: Vec<_> = wishes.iter().map(|wish| wish.bucket).collect();
        buckets.sort_unstable();
        buckets.dedup();
        let rotated = self.rotate_all(buckets).await;
        for Wish { bucket, answer } in wishes {
            let of_bucket = rotated.clone().and_then(|keys| {
                let key = keys.into_iter().find(|key| key.bucket == bucket);
                key.ok_or_else(|| LauncherError::Protocol.into())
            });
            // Who waited may have gone.
            let _ = answer.send(of_bucket);
        }
    }

    async fn rotate_all(&self, buckets: Vec<Bucket>) -> Result<Vec<WrappingKey>, WrappingError> {
        self.finish_interrupted().await?;
        let reply = {
            let _stored = self.0.launcher.all_keys_stored().await;
            self.0.launcher.keys(KeyRequest::Rotate(buckets)).await?
        };
        let KeyReply::Rotated(present) = reply else { return Err(LauncherError::Protocol.into()) };
        self.conclude(present).await
    }

    async fn finish_interrupted(&self) -> Result<(), WrappingError> {
        let reply = self.0.launcher.keys(KeyRequest::UnderWay).await?;
        let KeyReply::UnderWay(present) = reply else { return Err(LauncherError::Protocol.into()) };
        if present.is_empty() {
            return Ok(());
        }
        tracing::info!(buckets = present.len(), "taking up interrupted rotations of wrapping keys");
        self.conclude(present).await.map(drop)
    }

    /// Carries the cards of these buckets over to their present keys and retires what was before.
    async fn conclude(&self, present: Vec<WrappingKey>) -> Result<Vec<WrappingKey>, WrappingError> {
        for key in &present {
            self.carry_over(*key).await?;
        }
        let buckets = present.iter().map(|key| key.bucket).collect();
        match self.0.launcher.keys(KeyRequest::Retire(buckets)).await? {
            KeyReply::Retired(retired) if retired == present => Ok(retired),
            _ => Err(LauncherError::Protocol.into()),
        }
    }

    /// Until a pass finds none: a card's start may have stored a key meanwhile that it was given before.
    async fn carry_over(&self, present: WrappingKey) -> Result<(), WrappingError> {
        while self.pass(present).await? > 0 {}
        Ok(())
    }

    /// Wraps the bucket's keys anew and stores them; tells how many.
    async fn pass(&self, present: WrappingKey) -> Result<usize, WrappingError> {
        let (mut after, mut replacements, mut count) = (wrapped_keys::before(present.bucket), Vec::new(), 0);
        loop {
            let find = move |connection: &_| wrapped_keys::stale(connection, present, &after, MAX_CARDS);
            let cards = self.0.store.read(find).await?;
            let Some(last) = cards.last() else { break };
            after = last.card;
            replacements.extend(self.rewrap(cards).await?);
            if replacements.len() >= STORED_TOGETHER {
                count += self.replace(std::mem::take(&mut replacements)).await?;
            }
        }
        Ok(count + self.replace(replacements).await?)
    }

    async fn rewrap(&self, cards: Vec<WrappedCard>) -> Result<Vec<Replacement>, WrappingError> {
        let asked = KeyRequest::Rewrap(cards.clone());
        let KeyReply::Rewrapped(anew) = self.0.launcher.keys(asked).await? else {
            return Err(LauncherError::Protocol.into());
        };
        if anew.len() != cards.len() {
            return Err(LauncherError::Protocol.into());
        }
        Ok(cards.into_iter().zip(anew).filter_map(|(card, later)| replacement(card, later)).collect())
    }

    async fn replace(&self, replacements: Vec<Replacement>) -> Result<usize, WrappingError> {
        if replacements.is_empty() {
            return Ok(0);
        }
        let count = replacements.len();
        let replace = move |transaction: &rusqlite::Transaction<'_>| {
            replacements.iter().try_for_each(|one| wrapped_keys::replace(transaction, one).map(drop))
        };
        self.0.store.write(replace).await?;
        Ok(count)
    }

    fn wishes(&self) -> MutexGuard<'_, Vec<Wish>> {
        self.0.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A key that opens under none of the host's is left as it is: the card cannot start, and its next start says so.
fn replacement(card: WrappedCard, later: Option<Vec<u8>>) -> Option<Replacement> {
    let WrappedCard { card, wrapped_key: earlier, .. } = card;
    if later.is_none() {
        tracing::error!(card = hex::encode(card), "a wrapped key does not open and is not carried over");
    }
    later.map(|later| Replacement { card, earlier, later })
}
