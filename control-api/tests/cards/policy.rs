//! Cards park by policy and for one another.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use cardhost::{
    auth::name::Name,
    card::{ApduRate, CardError, Channel, ParkPolicy, Settings},
};
use cardhost_wire::port::Protocol;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{self, Instant},
};
use zeroize::Zeroizing;

use crate::{LIMIT, SELECT_PIV, World, world_with};

fn name(name: &str) -> Name {
    name.parse().unwrap()
}

fn settings(park: &str) -> Settings {
    Settings { park: park.parse().unwrap(), ..Settings::default() }
}

fn at_most(max_live: usize) -> Settings {
    let max_live = NonZeroUsize::new(max_live).unwrap();
    Settings { max_live, park: ParkPolicy::NEVER, ..Settings::default() }
}

async fn select(world: &World, terminal: &str) -> Channel {
    let mut channel = world.cards.open(&name(terminal), Protocol::ApduGate).await.unwrap();
    let response = channel.exchange(Zeroizing::new(SELECT_PIV.into()), LIMIT).await.unwrap();
    assert!(response.ends_with(&[0x90, 0x00]));
    channel
}

fn live(world: &World) -> Vec<Name> {
    let mut live = world.cards.live();
    live.sort_unstable();
    live
}

/// The policy at work, until it is dropped.
struct Policy {
    task: JoinHandle<()>,
    /// Its end would end the policy.
    _end: watch::Sender<bool>,
}

impl Policy {
    fn of(world: &World) -> Self {
        let (_end, ending) = watch::channel(false);
        let cards = world.cards.clone();
        let task = tokio::spawn(async move { cards.park_by_policy(ending).await });
        Self { task, _end }
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits until only these cards are live.
async fn until_live(world: &World, terminals: &[&str]) {
    let terminals: Vec<Name> = terminals.iter().map(|terminal| name(terminal)).collect();
    let mut look = time::interval(Duration::from_millis(10));
    while live(world) != terminals {
        look.tick().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_card_parks_and_one_in_session_does_not() {
    let world = world_with(settings("idle:1")).await;
    for terminal in ["till-7", "till-8", "till-9"] {
        world.cards.create(&name(terminal)).await.unwrap();
    }
    let mut channel = select(&world, "till-8").await;
    let _policy = Policy::of(&world);
    until_live(&world, &["till-8"]).await;
    channel.power_off().await;
    until_live(&world, &[]).await;
    assert!(world.cards.wake(&name("till-8")).await.unwrap());
    until_live(&world, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_idle_time_cards_park_only_under_pressure() {
    let world = world_with(settings("pressure:100")).await;
    world.cards.create(&name("till-7")).await.unwrap();
    world.cards.create(&name("till-8")).await.unwrap();
    let _channel = select(&world, "till-8").await;
    let _policy = Policy::of(&world);
    until_live(&world, &["till-8"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_more_card_takes_the_place_of_the_longest_idle() {
    let world = world_with(at_most(2)).await;
    world.cards.create(&name("till-7")).await.unwrap();
    world.cards.create(&name("till-8")).await.unwrap();
    assert!(!world.cards.wake(&name("till-7")).await.unwrap(), "a use, though nothing is started");
    world.cards.create(&name("till-9")).await.unwrap();
    assert_eq!(live(&world), [name("till-7"), name("till-9")]);
    let _channel = select(&world, "till-7").await;
    assert!(!world.cards.wake(&name("till-9")).await.unwrap());
    assert!(world.cards.wake(&name("till-8")).await.unwrap());
    assert_eq!(
        live(&world),
        [name("till-7"), name("till-8")],
        "the one in session stays, though idle longer"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_card_can_park_one_more_is_refused_and_nothing_is_lost() {
    let world = world_with(at_most(2)).await;
    for terminal in ["till-7", "till-8", "till-9"] {
        world.cards.create(&name(terminal)).await.unwrap();
    }
    let (mut seven, mut eight) = (select(&world, "till-7").await, select(&world, "till-8").await);
    for _ in 0..3 {
        assert!(matches!(world.cards.wake(&name("till-9")).await, Err(CardError::TooManyLive)));
    }
    assert_eq!(live(&world), [name("till-7"), name("till-8")]);
    for channel in [&mut seven, &mut eight] {
        let verify = Zeroizing::new(vec![0x00, 0x20, 0x00, 0x80]);
        let response = channel.exchange(verify, LIMIT).await.unwrap();
        assert_ne!(**response, [0x6D, 0x00], "the selection stands: the root does not know VERIFY");
    }
    seven.power_off().await;
    assert!(world.cards.wake(&name("till-9")).await.unwrap());
    assert_eq!(live(&world), [name("till-8"), name("till-9")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn more_terminals_than_places_take_turns() {
    let world = world_with(at_most(1)).await;
    for terminal in ["till-7", "till-8", "till-9"] {
        world.cards.create(&name(terminal)).await.unwrap();
    }
    let talk = async |terminal: &str| {
        for _ in 0..10 {
            // Turned away while another one is in the middle of its exchange, or of its start.
            while let Err(error) = world.cards.wake(&name(terminal)).await {
                assert!(matches!(error, CardError::TooManyLive), "{error}");
                tokio::task::yield_now().await;
            }
            assert!(world.cards.live().len() <= 1);
        }
    };
    tokio::join!(talk("till-7"), talk("till-8"), talk("till-9"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hasty_terminal_waits_for_its_turn() {
    let rate = ApduRate(NonZeroU32::new(2).unwrap());
    let world = world_with(Settings { apdu_rate: Some(rate), ..Settings::default() }).await;
    world.cards.create(&name("till-7")).await.unwrap();
    let began = Instant::now();
    let mut channel = select(&world, "till-7").await;
    for _ in 0..3 {
        channel.exchange(Zeroizing::new(SELECT_PIV.into()), LIMIT).await.unwrap();
    }
    // Whatever the machine does: two at once, and each further one half a second later.
    assert!(began.elapsed() >= Duration::from_secs(1));
}
