//! The open channels: each ends when what admitted it ends.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::{
    auth::{name::Name, token::TokenHash},
    server::Fingerprint,
};

/// What admitted a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The terminal.
    pub terminal: Name,
    /// The user.
    pub user: Name,
    /// The session's token.
    pub session: TokenHash,
    /// The device's certificate.
    pub device: Fingerprint,
    /// The session's end.
    pub expires_at: Timestamp,
}

/// All open channels. Cloning gives another handle of the same.
#[derive(Clone, Default)]
pub struct Channels(Arc<Mutex<Opened>>);

#[derive(Default)]
struct Opened {
    last: u64,
    channels: HashMap<u64, Open>,
}

struct Open {
    admission: Admission,
    end: watch::Sender<bool>,
}

/// An open channel's entry; gone on drop.
pub struct Place {
    channels: Channels,
    number: u64,
    expires_at: Timestamp,
    end: watch::Receiver<bool>,
}

impl Channels {
    /// Notes an open channel.
    pub fn enter(&self, admission: Admission) -> Place {
        let (sender, end) = watch::channel(false);
        let expires_at = admission.expires_at;
        let mut opened = self.lock();
        opened.last += 1;
        let number = opened.last;
        opened.channels.insert(number, Open { admission, end: sender });
        Place { channels: self.clone(), number, expires_at, end }
    }

    /// Ends the channels whose admission no longer holds.
    pub fn end_where(&self, over: impl Fn(&Admission) -> bool) {
        for open in self.lock().channels.values().filter(|open| over(&open.admission)) {
            open.end.send_replace(true);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Opened> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits until the admission no longer holds.
    pub async fn ended(&mut self) {
        let left = self.expires_at.duration_since(Timestamp::now());
        let left = left.try_into().unwrap_or_default();
        tokio::select! {
            () = crate::server::ended(&mut self.end) => {}
            () = tokio::time::sleep(left) => {}
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.channels.lock().channels.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(user: &str, expires_at: Timestamp) -> Admission {
        Admission {
            terminal: "till".parse().unwrap(),
            user: user.parse().unwrap(),
            session: [1; 32],
            device: [2; 32],
            expires_at,
        }
    }

    #[tokio::test]
    async fn a_channel_ends_with_its_admission() {
        let channels = Channels::default();
        let mut place = channels.enter(admission("alice", Timestamp::MAX));
        channels.end_where(|admission| admission.user.as_str() == "bob");
        assert!(!*place.end.borrow());
        channels.end_where(|admission| admission.user.as_str() == "alice");
        place.ended().await;
        drop(place);
        assert!(channels.lock().channels.is_empty());
    }

    #[tokio::test]
    async fn a_channel_ends_with_its_session() {
        Channels::default().enter(admission("alice", Timestamp::UNIX_EPOCH)).ended().await;
    }
}
