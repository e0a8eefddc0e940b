//! Cards park and wake, and no terminal can tell.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use cardhost::card::{CardError, Channel, Presence};
use cardhost_wire::{key::KeyReference, port::Protocol};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::{LIMIT, SELECT_PIV, World, till};

/// GET DATA of what is not there, which the secure element's root refuses with `6A88` and forgets.
const GET_DATA: &[u8] = &[0x00, 0xCA, 0x00, 0x99, 0x00];
/// GET DATA of PIV's discovery object, which any card answers.
const DISCOVERY: &[u8] = &[0x00, 0xCB, 0x3F, 0xFF, 0x03, 0x5C, 0x01, 0x7E, 0x00];
const NOT_THERE: [u8; 2] = [0x6A, 0x88];

async fn send(channel: &mut Channel, command: &[u8]) -> Vec<u8> {
    channel.exchange(Zeroizing::new(command.into()), LIMIT).await.unwrap().to_vec()
}

async fn pid(world: &World) -> Option<u32> {
    world.cards.status(&till()).await.unwrap().unwrap().pid
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_sees_nothing_when_its_card_parks() {
    let world = World::with_key().await;
    let mut channel = world.cards.open(&till(), Protocol::ApduGate).await.unwrap();
    assert_eq!(send(&mut channel, GET_DATA).await, NOT_THERE);
    let (before, mut presence) = (pid(&world).await, channel.presence());
    let seen = presence.borrow_and_update().clone();
    assert!(matches!(seen, Presence::Present { reset: 0, .. }));

    assert!(world.cards.park(&till(), false).await.unwrap());
    assert!(!world.cards.park(&till(), false).await.unwrap(), "it is parked already");
    assert_eq!((pid(&world).await, world.cards.live().len()), (None, 0));
    assert_eq!(send(&mut channel, GET_DATA).await, NOT_THERE);
    assert!(pid(&world).await.is_some_and(|pid| Some(pid) != before));
    assert!(!presence.has_changed().unwrap() && *channel.presence().borrow() == seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_in_session_parks_only_by_force_and_its_channel_sees_a_reset() {
    let world = World::with_key().await;
    let mut channel = world.cards.open(&till(), Protocol::SwpA).await.unwrap();
    assert!(send(&mut channel, SELECT_PIV).await.ends_with(&[0x90, 0x00]));
    let (before, mut presence) = (pid(&world).await, channel.presence());
    presence.mark_unchanged();
    for _ in 0..3 {
        assert!(matches!(world.cards.park(&till(), false).await, Err(CardError::InSession)));
    }
    assert_eq!(pid(&world).await, before);
    assert!(send(&mut channel, DISCOVERY).await.ends_with(&[0x90, 0x00]), "the selection still stands");

    assert!(world.cards.park(&till(), true).await.unwrap());
    presence.changed().await.unwrap();
    assert!(matches!(&*presence.borrow(), Presence::Present { reset: 1, .. }));
    assert_eq!(send(&mut channel, DISCOVERY).await, [0x6D, 0x00], "the root is selected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_whose_session_ended_parks() {
    let world = World::with_key().await;
    let mut channel = world.cards.open(&till(), Protocol::ApduGate).await.unwrap();
    send(&mut channel, SELECT_PIV).await;
    assert!(matches!(world.cards.park(&till(), false).await, Err(CardError::InSession)));
    channel.power_off().await;
    assert!(world.cards.park(&till(), false).await.unwrap());
    send(&mut channel, SELECT_PIV).await;
    drop(channel);
    // The session ends in the background.
    while let Err(error) = world.cards.park(&till(), false).await {
        assert!(matches!(error, CardError::Busy | CardError::InSession), "{error}");
    }
    assert!(world.cards.wake(&till()).await.unwrap());
    assert!(!world.cards.wake(&till()).await.unwrap());
}

/// Parks the card again and again; tells after each attempt how often it parked so far.
struct Hammer {
    parked: watch::Receiver<(usize, usize)>,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Hammer {
    fn start(world: &World, insist: impl Fn(usize) -> bool + Send + 'static) -> Self {
        let (told, parked) = watch::channel((0, 0));
        let (cards, stop) = (world.cards.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let (attempts, parked) = *told.borrow();
                let done = match cards.park(&till(), insist(attempts)).await {
                    Ok(done) => done,
                    Err(CardError::Busy | CardError::InSession | CardError::Stopped) => false,
                    Err(error) => panic!("{error}"),
                };
                told.send_replace((attempts + 1, parked + usize::from(done)));
                tokio::task::yield_now().await;
            }
        });
        Self { parked, stop, task }
    }

    fn parked(&self) -> usize {
        self.parked.borrow().1
    }

    /// Waits until an attempt that began after now is over.
    async fn attempt(&mut self) {
        let now = self.parked.borrow().0;
        self.parked.wait_for(|(attempts, _)| *attempts >= now + 2).await.unwrap();
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
    }
}

/// APDUs of three protocols as fast as they go, while the card parks in every gap, and between every two of them when
/// the hammer insists. None of them leaves session state, so none may notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_exchange_notices_a_card_that_parks_all_the_time() {
    let world = World::with_key().await;
    let hammer = Hammer::start(&world, |attempt| attempt.is_multiple_of(2));
    let talk = async |protocol| {
        let mut channel = world.cards.open(&till(), protocol).await.unwrap();
        let mut presence = channel.presence();
        presence.mark_unchanged();
        let mut exchanges = 0;
        while exchanges < 100 || hammer.parked() < 20 {
            assert_eq!(send(&mut channel, GET_DATA).await, NOT_THERE, "exchange {exchanges} on {protocol}");
            exchanges += 1;
        }
        assert!(!presence.has_changed().unwrap());
    };
    tokio::join!(talk(Protocol::ApduGate), talk(Protocol::Spi), talk(Protocol::SwpB));
    hammer.stop().await;
}

/// Sessions of several APDUs, each of which needs the one before; the card parks in every gap between two sessions.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_session_is_cut_by_a_card_that_parks_whenever_it_may() {
    let world = World::with_key().await;
    let mut hammer = Hammer::start(&world, |_| false);
    let mut channel = world.cards.open(&till(), Protocol::ApduGate).await.unwrap();
    let mut presence = channel.presence();
    presence.mark_unchanged();
    for session in 1..=20 {
        for command in [SELECT_PIV, DISCOVERY, DISCOVERY] {
            assert!(send(&mut channel, command).await.ends_with(&[0x90, 0x00]), "session {session}");
            hammer.attempt().await;
        }
        channel.power_off().await;
        hammer.attempt().await;
        assert!(hammer.parked() >= session, "it parks in the gap");
    }
    assert!(!presence.has_changed().unwrap());
    hammer.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_command_of_the_host_is_not_cut_off_either() {
    let world = World::with_key().await;
    let hammer = Hammer::start(&world, |attempt| attempt.is_multiple_of(2));
    for reference in [0x82, 0x83, 0x84, 0x85] {
        world.generate(KeyReference(reference)).await.unwrap();
    }
    hammer.stop().await;
    assert_eq!(world.cards.status(&till()).await.unwrap().unwrap().credentials, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_card_has_nothing_to_park() {
    let world = crate::world().await;
    assert!(!world.cards.park(&till(), true).await.unwrap());
    assert!(matches!(world.cards.wake(&till()).await, Err(CardError::Absent)));
}
