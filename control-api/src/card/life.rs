//! The life of a card's process: launched for a new card or from a stored state, brought up, and what follows its end.

use std::time::Duration;

use cardhost_wire::{
    control::{self, CardId},
    frame::FrameReader,
    launch,
};
use jiff::Timestamp;
use tokio::time;
use tracing::Instrument as _;

use super::{
    CardError, Cards, Presence, START_TIMEOUT,
    adoption::Adopting,
    entry::{Entry, Held, Standing},
    guest::Guest,
    limits::Place,
    link::Link,
    live::{Ends, Live, Use},
    pairing::Account,
    ports::Ports,
    start::{self, State},
    task::{End, Task},
};
use crate::{
    auth::name::Name,
    launcher::{CardStart, Instance, LauncherError, Started},
    store::{
        StoreError,
        cards::{self, CardRecord, CardState},
        wrapped_keys::{self, Replacement},
    },
};

/// How long a killed process may take to be gone before it is only reported.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// A card as it is stored.
struct Stored {
    card: CardRecord,
    account: Account,
    state: State,
}

/// A card's process that has yet to be started up.
struct Launched {
    link: Link,
    instance: Instance,
    place: Place,
    /// Its first commit settles it under this host's image.
    adopting: Option<Adopting>,
}

impl Cards {
    /// Makes the terminal's card, which must not exist, and starts it.
    pub async fn create(&self, terminal: &Name) -> Result<CardId, CardError> {
        let entry = self.hold(terminal);
        let _one_at_a_time = entry.starting.lock().await;
        let mut card = CardId::default();
        getrandom::fill(&mut card).map_err(|error| CardError::Resources(error.into()))?;
        let launched = self.launch_new(terminal, card).await?;
        self.bring_up(&entry, (card, 0), launched, None).await?;
        Ok(card)
    }

    /// A use of the running card, started from its stored state if it is parked.
    pub(super) async fn start(&self, entry: &Held) -> Result<Use, CardError> {
        if let Some(card) = entry.enter().await {
            return Ok(card);
        }
        let _one_at_a_time = entry.starting.lock().await;
        if let Some(card) = entry.enter().await {
            return Ok(card);
        }
        entry.wait_until_gone().await;
        let began = time::Instant::now();
        let (row, account, launched) = self.launch_stored(entry).await?;
        self.note_key(&row, &launched.instance).await?;
        let card = self.bring_up(entry, (row.card, row.epoch), launched, row.atr).await?;
        metrics::counter!("cardhost_card_wakes_total").increment(1);
        metrics::histogram!("cardhost_card_wake_seconds").record(began.elapsed());
        self.deliver(&card, &account).await;
        Ok(card)
    }

    async fn load(&self, terminal: &Name) -> Result<Option<Stored>, StoreError> {
        let terminal = terminal.clone();
        let read = self.store().read(move |connection| {
            // One snapshot: the head fits the records.
            let connection = connection.unchecked_transaction()?;
            let found = cards::find(&connection, &terminal)?.filter(|card| card.state == CardState::InUse);
            let Some(card) = found else { return Ok(None) };
            let records = cards::records(&connection, &card.card)?;
            let state = State { head: card.head.clone(), records };
            Ok(Some(Stored { account: Account::read(&connection, &card)?, card, state }))
        });
        read.await
    }

    async fn launch_new(&self, terminal: &Name, card: CardId) -> Result<Launched, CardError> {
        let place = self.place().await?;
        let _unstored = self.launcher().unstored_key().await;
        let start = CardStart {
            card,
            owner: terminal.sha256(),
            wrapped_key: None,
            image: self.launcher().measurement(),
            adopt: false,
        };
        let launched = self.launch(place, start, State::new_card(), None).await?;
        let record = self.new_record(terminal, card, &launched.instance);
        self.store().write(move |transaction| cards::insert(transaction, &record)).await?;
        Ok(launched)
    }

    /// The wrapping key may be retired between a read of the wrapped key and its use: then another one stands there.
    async fn launch_stored(&self, entry: &Entry) -> Result<(CardRecord, Account, Launched), CardError> {
        let terminal = &entry.terminal;
        let mut refused = None;
        loop {
            let Stored { card, account, state } = self.load(terminal).await?.ok_or(CardError::Absent)?;
            self.admit(entry, &card).await?;
            let wrapped_key = Some(card.wrapped_key.clone());
            let start = CardStart {
                card: card.card,
                owner: terminal.sha256(),
                wrapped_key: wrapped_key.clone(),
                image: card.measurement,
                adopt: self.follows(),
            };
            match self.launch(self.place().await?, start, state, self.adopting(&card)).await {
                Ok(launched) => return Ok((card, account, launched)),
                Err(CardError::Launcher(LauncherError::Refused(launch::Refusal::WrappedKey)))
                    if refused != wrapped_key =>
                {
                    refused = wrapped_key;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn launch(
        &self,
        place: Place,
        start: CardStart,
        state: State,
        adopting: Option<Adopting>,
    ) -> Result<Launched, CardError> {
        let started = time::timeout(START_TIMEOUT, self.launcher().start(start)).await;
        let Started { instance, link } = started.map_err(|_| CardError::TimedOut)??;
        let mut link = Link::new(link).map_err(CardError::Resources)?;
        start::begin(&mut link, state)?;
        Ok(Launched { link, instance, place, adopting })
    }

    async fn bring_up(
        &self,
        entry: &Held,
        (card, epoch): (CardId, u64),
        mut launched: Launched,
        noted: Option<Vec<u8>>,
    ) -> Result<Use, CardError> {
        let began = time::Instant::now();
        let verdict = time::timeout(START_TIMEOUT, start::finish(&mut launched.link, epoch)).await;
        match verdict.unwrap_or(Err(CardError::TimedOut)) {
            Ok((started, reader)) => {
                metrics::histogram!("cardhost_card_start_seconds").record(began.elapsed());
                self.note_atr(card, started, noted).await?;
                self.animate(entry, card, launched, reader).await
            }
            Err(error) => {
                tracing::error!(terminal = %entry.terminal, %error, "the card does not start");
                drop(time::timeout(KILL_TIMEOUT, launched.instance.kill()).await);
                if let CardError::Refused(why) = error {
                    *entry.standing() = Standing::Refused(why);
                }
                Err(error)
            }
        }
    }

    /// Stores what the launcher wrapped anew, unless a rotation did so meanwhile.
    async fn note_key(&self, card: &CardRecord, instance: &Instance) -> Result<(), StoreError> {
        let (earlier, later) = (card.wrapped_key.clone(), instance.wrapped_key.clone());
        if earlier == later {
            return Ok(());
        }
        let replacement = Replacement { card: card.card, earlier, later };
        self.store()
            .write(move |transaction| wrapped_keys::replace(transaction, &replacement))
            .await
            .map(drop)
    }

    /// Stores the answer to reset, unless it is the one that was noted before.
    async fn note_atr(
        &self,
        card: CardId,
        started: control::Started,
        noted: Option<Vec<u8>>,
    ) -> Result<(), StoreError> {
        let atr = started.atr;
        if noted.as_ref() == Some(&atr) {
            return Ok(());
        }
        self.store().write(move |transaction| cards::note_atr(transaction, &card, &atr)).await
    }

    /// Gives a started card its task, and a first use before anybody can park it.
    async fn animate(
        &self,
        entry: &Held,
        card: CardId,
        launched: Launched,
        reader: FrameReader,
    ) -> Result<Use, CardError> {
        let Launched { link, instance, place, adopting } = launched;
        let (live, Ends { mailbox, stopped, going }) = Live::new(instance.pid, self.roster());
        let first = live.enter().await.ok_or(CardError::Stopped)?;
        *entry.standing() = Standing::Live(live.clone());
        self.roster().enter(&live);
        let (guest, ports, store) = (Guest::new(reader), Ports::new(), self.store().clone());
        let guard = self.guard().clone();
        let (statistics, ending) = Default::default();
        let task = Task { card, store, guard, adopting, link, guest, ports, statistics, ending };
        let span = tracing::info_span!("card", terminal = %entry.terminal, pid = live.pid);
        let (cards, entry) = (self.clone(), entry.clone());
        let life = async move {
            metrics::gauge!("cardhost_cards_live").increment(1);
            let end = task.run(mailbox, stopped).await;
            live.close();
            let ending = time::timeout(KILL_TIMEOUT, instance.kill()).await;
            metrics::gauge!("cardhost_cards_live").decrement(1);
            tracing::info!(%end, ?ending, "the card stopped");
            cards.roster().leave(&live);
            *entry.standing() = Standing::AtRest;
            drop(place);
            // Before anybody is told: who ends the daemon then closes the store.
            cards.bury(&entry, &end).await;
            going.send_replace(true);
        };
        tokio::spawn(life.instrument(span));
        Ok(first)
    }

    /// What follows a card's stop: nothing if it parked, else its channels see a reset, or its end is announced.
    async fn bury(&self, entry: &Entry, end: &End) {
        match end {
            End::Parked => return,
            End::LastCredential => self.note_end(),
            End::Told | End::Failed(_) => {
                entry.presence.send_if_modified(Presence::count_reset);
            }
        }
        if let Err(error) = self.refresh(entry).await {
            tracing::error!(%error, "the card's presence is not known");
        }
    }

    fn new_record(&self, terminal: &Name, card: CardId, instance: &Instance) -> CardRecord {
        CardRecord {
            terminal: terminal.clone(),
            card,
            wrapped_key: instance.wrapped_key.clone(),
            measurement: self.launcher().measurement(),
            epoch: 0,
            head: None,
            atr: None,
            state: CardState::InUse,
            created_at: Timestamp::now(),
            revocations: None,
        }
    }
}
