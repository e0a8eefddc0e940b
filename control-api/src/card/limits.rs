//! What operators decide about cards: when they park, how many may be live, how fast one takes APDUs, and whether a new
//! guest image takes them over.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use tokio::{
    sync::{self, OwnedSemaphorePermit},
    time::{self, Instant},
};

use super::{Adoption, CardError, Cards, ParkPolicy};

/// Cards that are asked to park for one that wants to start.
const ATTEMPTS: usize = 32;

/// The place of a live card; given back when its process is gone.
pub(super) type Place = OwnedSemaphorePermit;

/// Most cards that are live at a time unless an operator says otherwise.
const MAX_LIVE: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// Processes that wait unless an operator says otherwise: as many cards as start together on a quiet host.
const WARM_POOL: u16 = 4;

/// What operators decide about cards.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// When they park by themselves.
    pub park: ParkPolicy,
    /// Most that are live at a time. One more takes the place of the parkable one that is idle longest.
    pub max_live: NonZeroUsize,
    /// Processes that are made ahead and wait for a card that starts.
    pub warm_pool: u16,
    /// How fast each takes APDUs; as fast as it can if none.
    pub apdu_rate: Option<ApduRate>,
    /// What becomes of those that the host's guest image is not allowed for.
    pub adoption: Adoption,
}

impl Default for Settings {
    fn default() -> Self {
        let (park, adoption) = Default::default();
        Self { park, max_live: MAX_LIVE, warm_pool: WARM_POOL, apdu_rate: None, adoption }
    }
}

impl Cards {
    /// A place for one more live card, if need be that of the parkable one that is idle longest.
    pub(super) async fn place(&self) -> Result<Place, CardError> {
        let mut busy = Vec::new();
        let mut place = self.free_place();
        for _ in 0..ATTEMPTS {
            if place.is_some() {
                break;
            }
            let Some(idlest) = self.roster().take(Instant::now()) else { break };
            busy.extend(self.try_to_park(idlest).await);
            place = self.free_place();
        }
        busy.iter().for_each(|live| self.roster().put(live));
        place.ok_or_else(|| self.turned_away())
    }

    fn free_place(&self) -> Option<Place> {
        self.places().clone().try_acquire_owned().ok()
    }

    fn turned_away(&self) -> CardError {
        metrics::counter!("cardhost_cards_turned_away_total").increment(1);
        tracing::warn!(max_live = self.settings().max_live, "no card can park for one that wants to start");
        CardError::TooManyLive
    }
}

/// APDUs per second of one card, all its protocols together; as many at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApduRate(pub NonZeroU32);

impl ApduRate {
    fn interval(self) -> Duration {
        Duration::from_secs(1) / self.0.get()
    }

    /// How far a card may be ahead of its pace.
    fn burst(self) -> Duration {
        self.interval() * (self.0.get() - 1)
    }

    /// When an APDU may go that comes at `now` to a bucket that is full again at `full`, and when it is full after it.
    fn turn(self, now: Instant, full: Option<Instant>) -> (Instant, Instant) {
        let due = full.map_or(now, |full| full.max(now));
        (due - self.burst().min(due - now), due + self.interval())
    }
}

/// A card's pace: a token bucket, kept as the time at which it will be full again. Who is too fast waits here, in its
/// own channel and before it uses the card, so that no other card waits with it.
#[derive(Default)]
pub(super) struct Pace(sync::Mutex<Option<Instant>>);

impl Pace {
    /// Waits for the turn of one APDU. Channels of the card wait in the order in which they came; one that goes away
    /// leaves no trace.
    pub(super) async fn pass(&self, rate: ApduRate) {
        let mut full = self.0.lock().await;
        let (turn, full_after) = rate.turn(Instant::now(), *full);
        time::sleep_until(turn).await;
        *full = Some(full_after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: ApduRate = ApduRate(NonZeroU32::new(10).unwrap());

    /// Milliseconds from `now` to the turn of the last of some APDUs that all come at `now`.
    fn last_turn(rate: ApduRate, now: Instant, full: &mut Option<Instant>, apdus: u32) -> u128 {
        let turn = |full: &mut Option<Instant>| {
            let (turn, after) = rate.turn(now, *full);
            *full = Some(after);
            turn
        };
        (0..apdus).map(|_| turn(full)).last().unwrap().duration_since(now).as_millis()
    }

    #[test]
    fn a_burst_is_free_and_the_rest_comes_at_the_rate() {
        let (now, mut full) = (Instant::now(), None);
        assert_eq!(last_turn(TEN, now, &mut full, 10), 0);
        assert_eq!(last_turn(TEN, now, &mut full, 20), 2000);
        let later = now + Duration::from_millis(2500);
        assert_eq!(last_turn(TEN, later, &mut full, 5), 0, "half a second gives half a burst");
        assert_eq!(last_turn(TEN, later, &mut full, 1), 100);
        let much_later = now + Duration::from_secs(60);
        assert_eq!(last_turn(TEN, much_later, &mut full, 10), 0, "and a minute no more than one");
        assert_eq!(last_turn(TEN, much_later, &mut full, 1), 100);
    }

    #[test]
    fn one_per_second_has_no_burst() {
        assert_eq!(last_turn(ApduRate(NonZeroU32::MIN), Instant::now(), &mut None, 4), 3000);
    }
}
