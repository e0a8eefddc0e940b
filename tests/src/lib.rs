//! Harness of the end-to-end tests: real programs, real microVMs, only the public surface.
//!
//! ```text
//! test ─▶ Daemon (`cardhost serve`) ─▶ launcher ─▶ one process for each card
//!   ├──▶ Client    REST
//!   ├──▶ Terminal  a user's terminal with its device certificate; opens Channels
//!   └──▶ Authority (`cardhost-authority serve`), with a Front before it that loses requests and answers
//! ```
//!
//! Programs are killed when their handle is dropped. Waits end at [`PATIENCE`] with a panic that says for what.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod authority;
pub mod channel;
pub mod client;
pub mod daemon;
pub mod foreign;
pub mod front;
pub mod leftovers;
pub mod pairing;
pub mod piv;
pub mod process;
pub mod random;
pub mod saboteur;
pub mod small_disk;
pub mod swtpm;
pub mod tap;
pub mod terminal;
pub mod user;

use std::{fs::OpenOptions, future::Future, io::Write as _, time::Duration};

/// Longest wait for anything: it bounds a failing test on a busy machine and decides nothing else.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The option of `cardhost serve` with which cards run as processes.
pub const PROCESS_ISOLATION: &str = "--insecure-process-isolation";

/// True if tests run cards as processes: without `/dev/kvm`, or if CARDHOST_TESTS_BACKEND is `process`.
pub fn cards_are_processes() -> bool {
    match std::env::var("CARDHOST_TESTS_BACKEND").as_deref() {
        Ok(backend) => backend == "process",
        Err(_) => OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err(),
    }
}

/// True if cards can be microVMs here; otherwise says loudly, past the capture of test output, that this test does not run.
pub fn microvms_can_run(test: &str) -> bool {
    if cards_are_processes() {
        let _ = writeln!(std::io::stderr(), "\n### DID NOT RUN: {test}: it needs microVMs ###");
        return false;
    }
    match OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        Ok(_) => true,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "\n### DID NOT RUN: {test}: /dev/kvm: {error} ###");
            false
        }
    }
}

/// Leaves the test if cards cannot be microVMs here. Most tests need only a card, which may be a process.
#[macro_export]
macro_rules! needs_kvm {
    () => {
        if !$crate::microvms_can_run(module_path!()) {
            return;
        }
    };
}

/// Waits until something is so, at most [`PATIENCE`]. For what nothing tells a client of: it is asked again and again.
pub async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let mut pause = tokio::time::interval(Duration::from_millis(50));
    let so = async {
        while !is_so().await {
            pause.tick().await;
        }
    };
    soon(what, so).await;
}

/// Waits for a future, at most [`PATIENCE`].
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain: {what}"),
    }
}
