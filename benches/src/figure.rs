//! Samples, figures and how they are printed.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

/// How often things are repeated.
#[derive(Clone, Copy)]
pub struct Effort {
    /// Turns between a figure and its floor.
    pub turns: usize,
    /// Repetitions of something that takes microseconds, in one turn.
    pub fast: usize,
    /// Repetitions of something that takes milliseconds, in one turn.
    pub slow: usize,
}

impl Effort {
    /// Less than 30 seconds for each subcommand.
    pub const QUICK: Self = Self { turns: 10, fast: 200, slow: 5 };
    /// Figures for the record.
    pub const FULL: Self = Self { turns: 50, fast: 1_000, slow: 20 };
}

/// Measured times.
#[derive(Default)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Times one call.
    pub fn time<T>(&mut self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let done = act()?;
        self.push(start.elapsed());
        Ok(done)
    }

    /// Adds one.
    pub fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// The given share of the samples took no longer, microseconds.
    pub fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = (sorted.len().saturating_sub(1)) * percent / 100;
        sorted.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
    }
}

/// Times `figure` and `floor` in turns, after one unmeasured turn of each.
pub fn in_turns(
    effort: Effort,
    repetitions: usize,
    mut figure: impl FnMut() -> Result<()>,
    mut floor: impl FnMut() -> Result<()>,
) -> Result<(Samples, Samples)> {
    figure()?;
    floor()?;
    let (mut figures, mut floors) = (Samples::default(), Samples::default());
    for _ in 0..effort.turns {
        for _ in 0..repetitions {
            figures.time(&mut figure)?;
        }
        for _ in 0..repetitions {
            floors.time(&mut floor)?;
        }
    }
    Ok((figures, floors))
}

/// Times `act` this many times, on each of `all` in turn.
pub fn in_turn<T>(all: &mut [T], count: usize, mut act: impl FnMut(&mut T) -> Result<()>) -> Result<Samples> {
    let mut samples = Samples::default();
    for number in 0..count {
        let at = number % all.len();
        samples.time(|| act(&mut all[at]))?;
    }
    Ok(samples)
}

/// One line of the result.
#[derive(Serialize)]
pub struct Figure {
    figure: &'static str,
    unit: &'static str,
    p50: f64,
    p99: f64,
    floor: Option<f64>,
    ratio: Option<f64>,
}

impl Figure {
    /// A time beside its floor in microseconds.
    pub fn time(figure: &'static str, samples: &Samples, floor: f64) -> Self {
        let (p50, p99) = (samples.percentile(50), samples.percentile(99));
        Self { p99, ..Self::beside(figure, "us", p50, floor) }
    }

    /// One time beside another, microseconds.
    pub fn single_time(figure: &'static str, time: f64, floor: f64) -> Self {
        Self::beside(figure, "us", time, floor)
    }

    /// A time that is reported without a floor.
    pub fn reported_time(figure: &'static str, samples: &Samples) -> Self {
        let (p50, p99) = (samples.percentile(50), samples.percentile(99));
        Self { figure, unit: "us", p50, p99, floor: None, ratio: None }
    }

    /// Memory beside its floor in KiB.
    pub fn memory(figure: &'static str, kib: f64, floor: f64) -> Self {
        Self::beside(figure, "KiB", kib, floor)
    }

    /// Memory in KiB that is reported without a floor.
    pub fn reported_memory(figure: &'static str, kib: f64) -> Self {
        Self { figure, unit: "KiB", p50: kib, p99: kib, floor: None, ratio: None }
    }

    /// How many of those that there should be.
    pub fn count(figure: &'static str, count: usize, floor: usize) -> Self {
        Self::beside(figure, "count", count as f64, floor as f64)
    }

    /// A ratio beside one.
    pub fn ratio(figure: &'static str, ratio: f64) -> Self {
        Self::beside(figure, "ratio", ratio, 1.0)
    }

    fn beside(figure: &'static str, unit: &'static str, value: f64, floor: f64) -> Self {
        let ratio = Some(value / floor);
        Self { figure, unit, p50: value, p99: value, floor: Some(floor), ratio }
    }
}

/// What a subcommand found.
#[derive(Default)]
pub struct Report {
    figures: Vec<Figure>,
    notes: Vec<String>,
}

impl Report {
    /// Adds a figure.
    pub fn push(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Adds a line that explains the table.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Prints it to the standard output.
    pub fn print(&self, json: bool) -> Result<()> {
        if json {
            for figure in &self.figures {
                println!("{}", serde_json::to_string(figure)?);
            }
            return Ok(());
        }
        println!("{:<22}{:>6}{:>12}{:>12}{:>12}{:>8}", "figure", "unit", "p50", "p99", "floor", "ratio");
        for Figure { figure, unit, p50, p99, floor, ratio } in &self.figures {
            let (floor, ratio) = (column(*floor, 1), column(*ratio, 2));
            println!("{figure:<22}{unit:>6}{p50:>12.1}{p99:>12.1}{floor:>12}{ratio:>8}");
        }
        self.notes.iter().for_each(|note| println!("{note}"));
        Ok(())
    }
}

fn column(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.decimals$}"))
}
