//! When cards park by themselves: after a time without use, or when the host's memory runs short; the card that is idle
//! longest first.
//!
//! In text: `never`, `idle:SECONDS`, `pressure` or `pressure:PERCENT`, or the last two joined by a comma.

use std::{fmt, fs, io, str::FromStr, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::{
    sync::watch,
    time::{self, Instant},
};

use super::{CardError, Cards, live::Live};
use crate::server;

/// Between two looks at the cards and at the host's memory.
const ROUND: Duration = Duration::from_secs(1);
/// Cards that are parked together.
const TOGETHER: usize = 32;
/// Available memory under which `pressure` parks when no share is given, percent.
const PRESSURE: u8 = 5;

/// When cards park by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkPolicy {
    /// After this long without use.
    pub idle: Option<Duration>,
    /// While less than this share of the host's memory is available, percent.
    pub pressure: Option<u8>,
}

/// The text names no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not never, idle:SECONDS, pressure[:PERCENT], or the last two joined by a comma")]
pub struct MalformedPolicy;

impl ParkPolicy {
    /// Cards park only by an operator's word.
    pub const NEVER: Self = Self { idle: None, pressure: None };

    fn with(self, part: &str) -> Result<Self, MalformedPolicy> {
        let (name, value) = part.split_once(':').map_or((part, None), |(name, value)| (name, Some(value)));
        match (name, value, self) {
            ("idle", Some(seconds), Self { idle: None, .. }) => {
                let seconds = number(seconds, u64::from(u32::MAX))?;
                Ok(Self { idle: Some(Duration::from_secs(seconds)), ..self })
            }
            ("pressure", share, Self { pressure: None, .. }) => {
                let share = share.map_or(Ok(u64::from(PRESSURE)), |share| number(share, 100))?;
                Ok(Self { pressure: Some(share as u8), ..self })
            }
            _ => Err(MalformedPolicy),
        }
    }
}

/// A decimal number from 1 to `most`.
fn number(text: &str, most: u64) -> Result<u64, MalformedPolicy> {
    let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    number.filter(|number| (1..=most).contains(number)).ok_or(MalformedPolicy)
}

impl Default for ParkPolicy {
    fn default() -> Self {
        Self { idle: Some(Duration::from_secs(600)), pressure: Some(PRESSURE) }
    }
}

impl FromStr for ParkPolicy {
    type Err = MalformedPolicy;

    fn from_str(text: &str) -> Result<Self, MalformedPolicy> {
        if text == "never" {
            return Ok(Self::NEVER);
        }
        text.split(',').try_fold(Self::NEVER, Self::with)
    }
}

impl fmt::Display for ParkPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.idle, self.pressure) {
            (None, None) => f.write_str("never"),
            (Some(idle), None) => write!(f, "idle:{}", idle.as_secs()),
            (None, Some(share)) => write!(f, "pressure:{share}"),
            (Some(idle), Some(share)) => write!(f, "idle:{},pressure:{share}", idle.as_secs()),
        }
    }
}

impl Cards {
    /// Parks cards by the policy until `end` turns true.
    pub async fn park_by_policy(&self, mut end: watch::Receiver<bool>) {
        let mut rounds = time::interval(ROUND);
        rounds.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = rounds.tick() => self.park_idle().await,
                () = server::ended(&mut end) => return,
            }
        }
    }

    async fn park_idle(&self) {
        let ParkPolicy { idle, pressure } = self.settings().park;
        if let Some(before) = idle.and_then(|idle| Instant::now().checked_sub(idle)) {
            self.park_while(before, || true).await;
        }
        if let Some(share) = pressure {
            self.park_while(Instant::now(), || is_short_of_memory(share)).await;
        }
    }

    /// Parks cards that were last used before then, the longest idle first, while the condition holds.
    async fn park_while(&self, before: Instant, holds: impl Fn() -> bool) {
        let mut busy = Vec::new();
        while holds() {
            let some: Vec<_> = std::iter::from_fn(|| self.roster().take(before)).take(TOGETHER).collect();
            if some.is_empty() {
                break;
            }
            busy.extend(join_all(some.into_iter().map(|live| self.try_to_park(live))).await);
        }
        busy.iter().flatten().for_each(|live| self.roster().put(live));
    }

    /// Parks a card that was taken from the roster; gives it back if it is to be asked again later.
    pub(super) async fn try_to_park(&self, live: Arc<Live>) -> Option<Arc<Live>> {
        match self.rest(&live, false).await {
            // In session it comes back by itself, with its next use.
            Ok(()) | Err(CardError::InSession) => None,
            Err(_) => Some(live),
        }
    }
}

fn is_short_of_memory(share: u8) -> bool {
    let short = fs::read_to_string("/proc/meminfo").and_then(|text| available(&text));
    let short = short.map(|percent| percent < f64::from(share));
    short.inspect_err(|error| tracing::warn!(%error, "the host's free memory is not known")).unwrap_or(false)
}

/// The share of the memory that new work can have, percent (proc(5)).
fn available(meminfo: &str) -> io::Result<f64> {
    let kib = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        number.ok_or(io::ErrorKind::InvalidData)
    };
    Ok(100.0 * kib("MemAvailable:")? / kib("MemTotal:")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_as_they_are_written() {
        for text in ["never", "idle:1", "idle:600", "pressure:7", "idle:60,pressure:100"] {
            assert_eq!(text.parse::<ParkPolicy>().unwrap().to_string(), text);
        }
        let implied: ParkPolicy = "pressure,idle:9".parse().unwrap();
        assert_eq!(implied.to_string(), "idle:9,pressure:5");
        assert_eq!(ParkPolicy::default().to_string(), "idle:600,pressure:5");
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        let wrong = [
            "",
            "idle",
            "idle:",
            "idle:0",
            "idle:-1",
            "idle:+1",
            "idle:x",
            "idle:1,idle:2",
            "pressure:0",
            "pressure:101",
            "pressure:",
            "never,idle:1",
            "idle:1,",
            "idle:99999999999999999999",
            "always",
        ];
        for text in wrong {
            assert_eq!(text.parse::<ParkPolicy>(), Err(MalformedPolicy), "{text}");
        }
    }

    #[test]
    fn available_memory_is_a_share_of_all() {
        let text = "MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    250 kB\n";
        assert_eq!(available(text).unwrap(), 25.0);
        assert!(available("MemTotal: 1000 kB\n").is_err());
        assert!(available("MemTotal: 1000 kB\nMemAvailable: much\n").is_err());
        let own = available(&fs::read_to_string("/proc/meminfo").unwrap()).unwrap();
        assert!(own > 0.0 && own <= 100.0, "{own}");
    }
}
