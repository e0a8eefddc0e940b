//! Cards beside one that computes without end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Sender, channel},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result};
use cardhost_wire::key::{Algorithm, KeyReference};

use crate::{
    card::{Card, TWENTY_BYTES},
    figure::{Effort, Figure, in_turn},
    launcher::{Launcher, Link},
};

/// Cards that answer in turn.
const NEIGHBOURS: usize = 16;
/// Exchanges, beside those of other figures: some seconds of them.
const SHARE: usize = 5;
/// Keys whose generation takes a guest seconds.
const KEY: (KeyReference, Algorithm) = (KeyReference::AUTHENTICATION, Algorithm::Rsa3072);

/// Round trips of some of these cards without and with another that generates key after key.
pub fn measure(launcher: &Launcher, cards: &mut [Card<Link>], effort: Effort) -> Result<Figure> {
    let count = cards.len().min(NEIGHBOURS);
    let (cards, exchanges) = (&mut cards[..count], SHARE * effort.turns * effort.fast);
    let transmit = |card: &mut Card<Link>| card.transmit(&TWENTY_BYTES).map(drop);
    let alone = in_turn(cards, exchanges, transmit)?;
    let burner = Burner::start(Card::start(launcher.card()?)?)?;
    let beside = in_turn(cards, exchanges, transmit)?;
    burner.stop()?;
    Ok(Figure::single_time("neighbour_p99", beside.percentile(99), alone.percentile(99)))
}

/// A card that a thread keeps busy.
struct Burner {
    ending: Arc<AtomicBool>,
    thread: JoinHandle<Result<usize>>,
}

impl Burner {
    /// Returns once its card has begun.
    fn start(card: Card<Link>) -> Result<Self> {
        let ending = Arc::new(AtomicBool::new(false));
        let (told, (begins, begun)) = (ending.clone(), channel());
        let thread = thread::Builder::new().spawn(move || burn(card, &begins, &told))?;
        // An error is that of the thread, told at its end.
        let _ = begun.recv();
        Ok(Self { ending, thread })
    }

    fn stop(self) -> Result<usize> {
        self.ending.store(true, Ordering::Relaxed);
        self.thread.join().ok().context("the burning card's thread")?
    }
}

/// Generates keys until told to end; how many.
fn burn(mut card: Card<Link>, begins: &Sender<()>, ending: &AtomicBool) -> Result<usize> {
    card.personalise(&[])?;
    begins.send(())?;
    let mut keys = 0;
    while !ending.load(Ordering::Relaxed) {
        card.generate(KEY)?;
        card.delete(KEY.0)?;
        keys += 1;
    }
    Ok(keys)
}
