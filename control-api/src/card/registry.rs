//! The cards by terminal: at most one microVM each, started at its first use.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cardhost_wire::{
    control::{Answer, Command},
    launch::Isolation,
    layers::Layer,
    port::Protocol,
};
use tokio::sync::{Notify, Semaphore};
use uuid::Uuid;

use super::{
    CardError, Channel,
    entry::{Entry, Held},
    limits::Settings,
    pairing::News,
    roster::Roster,
    task::{End, Mail},
};
use crate::{
    anchor::Guard,
    auth::name::Name,
    launcher::{Launcher, LauncherError},
    store::{
        Store, StoreError,
        cards::{self, CardState},
    },
};

/// The registry. Cloning gives another handle of the same.
#[derive(Clone)]
pub struct Cards(Arc<Inner>);

struct Inner {
    store: Store,
    launcher: Launcher,
    guard: Guard,
    entries: Mutex<HashMap<Name, Arc<Entry>>>,
    roster: Roster,
    settings: Settings,
    places: Arc<Semaphore>,
    ended: Notify,
    news: News,
}

impl Cards {
    /// The cards in this store, run by this launcher. The guard finds those whose old state was put back.
    pub fn new(store: Store, launcher: Launcher, guard: Guard, settings: Settings) -> Self {
        let (entries, roster, ended) = (Mutex::default(), Roster::default(), Notify::new());
        let news = News::default();
        let places = Arc::new(Semaphore::new(settings.max_live.get().min(Semaphore::MAX_PERMITS)));
        Self(Arc::new(Inner { store, launcher, guard, entries, roster, settings, places, ended, news }))
    }

    /// Reserves the terminal's channel of this protocol; the card need not be there yet.
    pub async fn open(&self, terminal: &Name, protocol: Protocol) -> Result<Channel, CardError> {
        let entry = self.hold(terminal);
        let channel = Channel::reserve(self.clone(), entry.clone(), protocol)?;
        self.refresh(&entry).await?;
        Ok(channel)
    }

    /// One of the host's narrow commands; new credentials are noted as made for `intent`.
    pub async fn command(
        &self,
        terminal: &Name,
        command: Command,
        intent: Option<Uuid>,
    ) -> Result<Answer, CardError> {
        let card = self.start(&self.hold(terminal)).await?;
        card.ask(|reply| Mail::Command { command, intent, reply }).await
    }

    /// Makes sure that the launcher runs and accepts starts; which layers it has between its cards and the host.
    pub async fn ready(&self) -> Result<Arc<[Layer]>, LauncherError> {
        self.0.launcher.ready().await
    }

    /// Ends the launcher, once no card runs any more.
    pub async fn end(&self) -> Result<(), LauncherError> {
        self.0.launcher.end().await
    }

    /// What keeps the cards apart from the host and from each other.
    pub fn isolation(&self) -> Isolation {
        self.0.launcher.isolation()
    }

    /// Makes sure that the terminal's card runs; false if it did already.
    pub async fn wake(&self, terminal: &Name) -> Result<bool, CardError> {
        let entry = self.hold(terminal);
        let parked = entry.running().is_none();
        self.start(&entry).await.map(|_| parked)
    }

    /// Ends the card's process, if it runs, and waits until it is gone.
    pub async fn stop(&self, terminal: &Name) {
        let Some(entry) = self.known(terminal) else { return };
        let _one_at_a_time = entry.starting.lock().await;
        if let Some(live) = entry.live() {
            live.stop(End::Told).await;
        }
    }

    /// The terminals whose cards are live.
    pub fn live(&self) -> Vec<Name> {
        let entries = self.entries();
        let live = entries.values().filter(|entry| entry.live().is_some());
        live.map(|entry| entry.terminal.clone()).collect()
    }

    /// Tells watchers what the store now says of the terminal's card.
    pub async fn announce(&self, terminal: &Name) -> Result<(), CardError> {
        match self.known(terminal) {
            Some(entry) => Ok(self.refresh(&entry).await?),
            None => Ok(()),
        }
    }

    /// Waits until a card stopped because its last credential is gone.
    pub async fn ended(&self) {
        self.0.ended.notified().await;
    }

    pub(super) fn note_end(&self) {
        self.0.ended.notify_one();
    }

    pub(super) async fn refresh(&self, entry: &Entry) -> Result<(), StoreError> {
        let terminal = entry.terminal.clone();
        let read = move |connection: &rusqlite::Connection| {
            let found = cards::find(connection, &terminal)?.filter(|card| card.state == CardState::InUse);
            let Some(card) = found else { return Ok(None) };
            let is_empty = cards::count_credentials(connection, &card.card)? == 0;
            Ok(Some((card, is_empty)))
        };
        let found = self.0.store.read(read).await?;
        if let Some((card, _)) = &found
            && self.refusal(entry, card).await?.is_some()
        {
            return Ok(());
        }
        let atr = found.and_then(|(card, is_empty)| card.atr.filter(|_| !is_empty));
        entry.presence.send_if_modified(|presence| presence.update(atr));
        Ok(())
    }

    /// The launcher that runs them.
    pub fn launcher(&self) -> &Launcher {
        &self.0.launcher
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }

    /// What compares stored states with the anchor.
    pub fn guard(&self) -> &Guard {
        &self.0.guard
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(super) fn roster(&self) -> &Roster {
        &self.0.roster
    }

    pub(super) fn news(&self) -> &News {
        &self.0.news
    }

    pub(super) fn places(&self) -> &Arc<Semaphore> {
        &self.0.places
    }

    /// Holds the terminal's entry, made if there is none.
    pub(super) fn hold(&self, terminal: &Name) -> Held {
        let mut entries = self.entries();
        let entry = entries.entry(terminal.clone()).or_insert_with(|| Arc::new(Entry::new(terminal)));
        Held::new(self, entry)
    }

    /// Holds the terminal's entry, if there is one.
    pub(super) fn known(&self, terminal: &Name) -> Option<Held> {
        self.entries().get(terminal).map(|entry| Held::new(self, entry))
    }

    pub(super) fn entries(&self) -> MutexGuard<'_, HashMap<Name, Arc<Entry>>> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
