//! Rotation of the host's wrapping keys, all of them, beside the cards: their state and their processes are not
//! touched.
//!
//! ```text
//! idle ──begin──▶ running(done of all buckets) ──▶ idle
//!                     │ launcher or store failed
//!                     └──▶ failed: what was under way is finished by the reconciliation, the rest waits for another
//! ```

use std::sync::{Arc, Mutex, PoisonError};

use cardhost_wire::wrapping::{BUCKETS, Bucket};

use super::{LifeCycle, LifeCycleError};
use crate::{
    audit::{Action, Entry},
    auth::name::Name,
    wrapping::WrappingError,
};

/// Buckets that are rotated together: two replacements of the host key's file for all of them.
const TOGETHER: usize = 16;

/// Where the rotation of all wrapping keys stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rotation {
    /// None is under way; the last one, if any since the daemon's start, was finished.
    #[default]
    Idle,
    /// So many buckets of [`BUCKETS`] are done.
    Running(usize),
    /// It broke off after so many buckets.
    Failed(usize),
}

/// The rotation's place.
#[derive(Default)]
pub(super) struct HostKeyRotation(Arc<Mutex<Rotation>>);

impl HostKeyRotation {
    fn now(&self) -> Rotation {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, rotation: Rotation) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = rotation;
    }

    /// False if it runs already.
    fn begin(&self) -> bool {
        let mut rotation = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = !matches!(*rotation, Rotation::Running(_));
        if idle {
            *rotation = Rotation::Running(0);
        }
        idle
    }
}

impl LifeCycle {
    /// Where the rotation of all wrapping keys stands.
    pub fn host_key_rotation(&self) -> Rotation {
        self.0.rotation.now()
    }

    /// Begins to rotate all wrapping keys, unless that is under way already. It goes on by itself.
    ///
    /// # Errors
    /// The audit log cannot be written; nothing was begun.
    pub async fn rotate_host_key(&self, by: &Name) -> Result<Rotation, LifeCycleError> {
        let entry = Entry::new(Action::HostKeyRotationBegun).user(by);
        if self.0.rotation.begin() {
            let noted = self.write(move |transaction, audit| audit.append(transaction, &entry)).await;
            if let Err(error) = noted {
                self.0.rotation.set(Rotation::Idle);
                return Err(error);
            }
            let (this, by) = (self.clone(), by.clone());
            tokio::spawn(async move { this.rotate_logged(&by).await });
        }
        Ok(self.host_key_rotation())
    }

    async fn rotate_logged(&self, by: &Name) {
        let rotated = self.rotate_every_bucket().await;
        let entry = Entry::new(Action::HostKeyRotated).user(by).detail("buckets", BUCKETS);
        let noted = match rotated {
            Ok(()) => self.write(move |transaction, audit| audit.append(transaction, &entry)).await,
            Err(error) => Err(error.into()),
        };
        match (noted, self.host_key_rotation()) {
            (Err(error), Rotation::Running(done)) => {
                tracing::error!(%error, done, "the rotation of the host's wrapping keys broke off");
                self.0.rotation.set(Rotation::Failed(done));
                self.0.unsettled.notify_one();
            }
            _ => self.0.rotation.set(Rotation::Idle),
        }
    }

    async fn rotate_every_bucket(&self) -> Result<(), WrappingError> {
        let buckets: Vec<_> = Bucket::all().collect();
        let mut done = 0;
        for group in buckets.chunks(TOGETHER) {
            self.0.keys.rotate_together(group).await?;
            done += group.len();
            self.0.rotation.set(Rotation::Running(done));
        }
        Ok(())
    }
}
