//! Logs and figures.

use std::{io::IsTerminal as _, sync::OnceLock};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// Upper bounds of the histograms' buckets, seconds.
const BUCKETS: [f64; 12] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0, 10.0];

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Writes log lines of this level and above to standard error from now on. `CARDHOST_LOG`, if set, filters them
/// instead, as tracing's `EnvFilter` does.
pub fn log_to_stderr(format: LogFormat, level: &str) {
    let filter = EnvFilter::try_from_env("CARDHOST_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let colours = std::io::stderr().is_terminal();
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    // A second call, as in tests, leaves the first in place.
    let _ = match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
}

/// The process's Prometheus figures.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Collects figures from now on; the same for every daemon in this process.
    pub fn install() -> Self {
        static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
        let handle = HANDLE.get_or_init(|| {
            let builder = PrometheusBuilder::new().set_buckets(&BUCKETS).expect("buckets are given");
            builder.install_recorder().expect("nobody else installs a recorder in this process")
        });
        Self(handle.clone())
    }

    /// The figures in the Prometheus text format.
    pub fn render(&self) -> String {
        self.0.run_upkeep();
        self.0.render()
    }
}
