//! Terminals work while daemon, launcher and cards are killed at random moments: what was acknowledged is there
//! afterwards, what was not is there whole or not at all, and nothing is left behind.
//!
//! Twenty kills by default, two hundred with `CARDHOST_TESTS_LONG=1`, and as many as fit with
//! `CARDHOST_TESTS_KILL_MINUTES=60`. A run prints its seed, and `CARDHOST_TESTS_SEED` repeats its decisions; when
//! exactly a kill strikes depends on the machine.

mod look;
mod model;
mod worker;

use std::{
    collections::BTreeSet,
    fmt,
    time::{Duration, Instant},
};

use cardhost_tests::{
    authority::{listed, valid, valid_to_pair},
    client::Client,
    daemon::Daemon,
    leftovers, needs_kvm,
    process::{children, command, ended, in_session, kill},
    random::{Chance, SEED, seed},
    soon, until,
};
use futures_util::future::join_all;
use tokio::sync::watch;

use worker::Worker;

/// Terminals whose cards stay, and all terminals.
const STAYING: usize = 2;
const TERMINALS: usize = 4;
/// Processes that wait for a card by default.
const WARM_POOL: usize = 4;
/// A kill strikes after fewer acknowledged acts than this.
const ACTS: usize = 12;
/// And then after less than so many milliseconds: not only between two acts.
const MOMENTS: usize = 20;

/// Who is killed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Victim {
    Daemon,
    Launcher,
    /// The card of this terminal, in this process.
    Card(String, u32),
}

/// When the killing ends.
enum Measure {
    Kills(usize),
    Until(Instant),
}

impl Measure {
    fn of_environment() -> Self {
        if let Ok(minutes) = std::env::var("CARDHOST_TESTS_KILL_MINUTES") {
            let minutes: u64 = minutes.parse().expect("CARDHOST_TESTS_KILL_MINUTES is a number");
            return Self::Until(Instant::now() + Duration::from_secs(60 * minutes));
        }
        Self::Kills(if std::env::var_os("CARDHOST_TESTS_LONG").is_some() { 200 } else { 20 })
    }

    fn is_full(&self, kills: usize) -> bool {
        match self {
            Self::Kills(most) => kills >= *most,
            Self::Until(end) => Instant::now() >= *end,
        }
    }
}

#[derive(Default)]
struct Tally {
    kills: [usize; 3],
    acknowledged: u64,
    in_doubt: usize,
}

impl Tally {
    fn kills(&self) -> usize {
        self.kills.iter().sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [daemons, launchers, cards] = self.kills;
        write!(f, "{} kills ({daemons} of the daemon, {launchers} of the launcher, ", self.kills())?;
        write!(f, "{cards} of a card), {} acts acknowledged, {} in doubt", self.acknowledged, self.in_doubt)
    }
}

struct Scene {
    daemon: Daemon,
    administrator: Client,
    workers: Vec<Worker>,
    chance: Chance,
    tally: Tally,
}

impl Scene {
    async fn set(seed: u64) -> Self {
        let daemon = Daemon::start().await;
        let mut workers = Vec::new();
        for number in 0..TERMINALS {
            let terminal = daemon.terminal(&format!("till-{number}"), &format!("user-{number}")).await;
            let chance = Chance::new(seed, 1 + number as u64);
            workers.push(Worker::start(terminal, number < STAYING, chance).await);
        }
        let administrator = daemon.administrator().await;
        Self { daemon, administrator, workers, chance: Chance::new(seed, 0), tally: Tally::default() }
    }

    /// Terminals work, something is killed, and everything is looked at.
    async fn round(&mut self) {
        let (pause, acknowledged) = (watch::Sender::new(false), watch::Sender::new(0));
        let workers = &mut self.workers;
        let work = join_all(workers.iter_mut().map(|worker| worker.work(&pause, &acknowledged)));
        let strike = async {
            let (acts, moments) = (self.chance.below(ACTS) as u64, self.chance.below(MOMENTS) as u64);
            soon("acts", acknowledged.subscribe().wait_for(|count| *count >= acts)).await.expect("acts");
            tokio::time::sleep(Duration::from_millis(moments)).await;
            let victim = choose(&self.daemon, &self.administrator, &mut self.chance).await;
            let launchers = children(self.daemon.server.pid());
            strike(&mut self.daemon, &victim, &launchers).await;
            pause.send_replace(true);
            (victim, launchers)
        };
        let (undisturbed, (victim, launchers)) = tokio::join!(work, strike);
        self.tally.acknowledged += *acknowledged.borrow();
        self.tally.in_doubt += self.workers.iter().filter(|worker| worker.is_in_doubt()).count();
        self.tally.kills[victim.number()] += 1;
        self.only_victims_are_disturbed(&victim, &undisturbed);
        self.recover(&victim, launchers).await;
        self.look().await;
    }

    /// Nobody notices the end of another's card.
    fn only_victims_are_disturbed(&self, victim: &Victim, undisturbed: &[bool]) {
        let Victim::Card(terminal, _) = victim else { return };
        for (worker, undisturbed) in self.workers.iter().zip(undisturbed) {
            assert!(
                *undisturbed || worker.terminal.name == *terminal,
                "{} is disturbed",
                worker.terminal.name
            );
        }
    }

    /// No process outlives whom it belongs to; channels end or tell of the reset.
    async fn recover(&mut self, victim: &Victim, launchers: Vec<u32>) {
        match victim {
            Victim::Card(_, pid) => ended(*pid).await,
            Victim::Launcher | Victim::Daemon => {
                for launcher in launchers {
                    ended(launcher).await;
                    join_all(in_session(launcher).into_iter().map(ended)).await;
                }
            }
        }
        if *victim == Victim::Daemon {
            audit_log_verifies(&self.daemon).await;
            self.daemon.restart().await;
        }
        for worker in &mut self.workers {
            match victim {
                Victim::Daemon => worker.reconnect().await,
                Victim::Launcher if worker.stays => worker.was_reset().await,
                Victim::Card(terminal, _) if worker.stays && worker.terminal.name == *terminal => {
                    worker.was_reset().await;
                }
                Victim::Launcher | Victim::Card(..) => {}
            }
        }
    }

    async fn look(&mut self) {
        leftovers::settled(self.daemon.data()).await;
        leftovers::assert_sound(self.daemon.data());
        join_all(self.workers.iter_mut().map(|worker| worker.look(&self.administrator))).await;
        let mut certificates = BTreeSet::new();
        for worker in &self.workers {
            certificates.extend(listed(&worker.terminal.certificates().await));
        }
        let authority = self.daemon.data().join("authority");
        assert_eq!(certificates, valid(&authority), "host and authority");
        let certified = leftovers::certified_cards(self.daemon.data());
        assert_eq!(certified, valid_to_pair(&authority).len(), "pairing keys of cards");
    }

    /// Everything is deleted, and nothing is left.
    async fn clear(mut self) {
        let cards = live(&self.administrator).await;
        for worker in &mut self.workers {
            worker.clear().await;
        }
        join_all(cards.into_iter().map(|(_, pid)| ended(pid))).await;
        leftovers::settled(self.daemon.data()).await;
        leftovers::assert_none(self.daemon.data());
        let authority = self.daemon.data().join("authority");
        assert!(valid(&authority).is_empty() && valid_to_pair(&authority).is_empty(), "none is valid");
        let launchers = children(self.daemon.server.pid());
        until("what waits for a card is all that is left", async || {
            launchers.iter().copied().flat_map(children).count() == WARM_POOL
        })
        .await;
        audit_log_verifies(&self.daemon).await;
        assert!(self.daemon.server.terminate().await, "the daemon ends in order");
        for launcher in launchers {
            join_all(in_session(launcher).into_iter().map(ended)).await;
        }
    }
}

impl Victim {
    /// Its place in the tally.
    const fn number(&self) -> usize {
        match self {
            Self::Daemon => 0,
            Self::Launcher => 1,
            Self::Card(..) => 2,
        }
    }
}

async fn choose(daemon: &Daemon, administrator: &Client, chance: &mut Chance) -> Victim {
    match chance.below(4) {
        0 => return Victim::Daemon,
        1 if !children(daemon.server.pid()).is_empty() => return Victim::Launcher,
        _ => {}
    }
    let (terminal, pid) = chance.pick(&live(administrator).await);
    Victim::Card(terminal, pid)
}

/// The live cards' terminals and processes.
async fn live(administrator: &Client) -> Vec<(String, u32)> {
    let page = administrator.get("/v1/cards").await.expect("cards");
    let live = page["cards"].as_array().expect("a list").iter().filter_map(|card| {
        let terminal = card["terminal"].as_str().expect("a terminal");
        Some((terminal.to_owned(), card["pid"].as_u64()? as u32))
    });
    live.collect()
}

async fn strike(daemon: &mut Daemon, victim: &Victim, launchers: &[u32]) {
    match victim {
        Victim::Daemon => daemon.server.kill().await,
        Victim::Launcher => launchers.iter().copied().for_each(kill),
        Victim::Card(_, pid) => kill(*pid),
    }
}

async fn audit_log_verifies(daemon: &Daemon) {
    let mut verify = command("cardhost", ["audit", "verify", "--data"]);
    let verified = verify.arg(daemon.data()).output().await.expect("the command");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

#[tokio::test]
async fn random_kills_lose_nothing_acknowledged_and_leave_nothing_behind() {
    needs_kvm!();
    let (seed, measure) = (seed(), Measure::of_environment());
    eprintln!("{SEED}={seed}");
    let mut scene = Scene::set(seed).await;
    while !measure.is_full(scene.tally.kills()) {
        scene.round().await;
    }
    eprintln!("{}: nothing acknowledged was lost", scene.tally);
    scene.clear().await;
}
