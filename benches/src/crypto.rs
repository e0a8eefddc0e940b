//! Signatures by GENERAL AUTHENTICATE in the guest.
//!
//! Floor: the same code on the host ([`cardhost_guest::crypto`], the key loaded) and one round trip of a 20-byte
//! APDU. OpenSSL's own figures stand below the table where the program is installed.

use std::{cell::RefCell, process::Command};

use anyhow::Result;
use cardhost_guest::crypto::PrivateKey;
use cardhost_wire::key::{Algorithm, KeyReference};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::{
    card::{Card, TWENTY_BYTES, general_authenticate, select_piv, succeeded, verify_pin},
    figure::{Effort, Figure, Report, in_turns},
    in_process::InProcess,
};

const P256_KEY: KeyReference = KeyReference::AUTHENTICATION;
const RSA_KEY: KeyReference = KeyReference::KEY_MANAGEMENT;
/// Algorithm identifiers (SP 800-78-5, table 9).
const P256: u8 = 0x11;
const RSA2048: u8 = 0x07;
/// RSA takes some thirty times as long as P-256.
const RSA_SHARE: usize = 10;

/// Measures both.
pub fn measure(effort: Effort) -> Result<Report> {
    let mut card = Card::start(InProcess::launch()?)?;
    card.personalise(&[(P256_KEY, Algorithm::P256), (RSA_KEY, Algorithm::Rsa2048)])?;
    succeeded(&card.transmit(&select_piv())?)?;
    succeeded(&card.transmit(&verify_pin())?)?;
    let card = RefCell::new(card);
    let mut report = Report::default();
    report.push(p256(effort, &card)?);
    report.push(rsa2048(effort, &card)?);
    report.note(openssl());
    Ok(report)
}

fn p256(effort: Effort, card: &RefCell<Card<InProcess>>) -> Result<Figure> {
    let mut rng = ChaCha20Rng::from_seed([9; 32]);
    let key = PrivateKey::generate(Algorithm::P256, &mut rng)?;
    let digest = [0x5A; 32];
    let command = general_authenticate(P256, P256_KEY, &digest);
    let native = || {
        key.sign_digest(&digest, &mut rng)?;
        Ok(())
    };
    compare("p256_sign", effort, effort.fast, card, &command, native)
}

fn rsa2048(effort: Effort, card: &RefCell<Card<InProcess>>) -> Result<Figure> {
    let mut rng = ChaCha20Rng::from_seed([9; 32]);
    let key = PrivateKey::generate(Algorithm::Rsa2048, &mut rng)?;
    let message = [0x5A; 256];
    let command = general_authenticate(RSA2048, RSA_KEY, &message);
    let native = || {
        key.raw_rsa(&message, &mut rng)?;
        Ok(())
    };
    compare("rsa2048_sign", effort, effort.fast / RSA_SHARE, card, &command, native)
}

fn compare(
    name: &'static str,
    effort: Effort,
    repetitions: usize,
    card: &RefCell<Card<InProcess>>,
    command: &[u8],
    mut native: impl FnMut() -> Result<()>,
) -> Result<Figure> {
    let guest = || succeeded(&card.borrow_mut().transmit(command)?);
    let floor = || {
        card.borrow_mut().transmit(&TWENTY_BYTES)?;
        native()
    };
    let (figure, floor) = in_turns(effort, repetitions, guest, floor)?;
    Ok(Figure::time(name, &figure, floor.percentile(50)))
}

/// OpenSSL's signatures per `openssl speed`, in one line.
fn openssl() -> String {
    let arguments = ["speed", "-mr", "-elapsed", "-seconds", "1", "ecdsap256", "rsa2048"];
    let Ok(output) = Command::new("openssl").args(arguments).output() else {
        return "openssl is not installed: no comparison".into();
    };
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let sign = |kind: &str| {
        let line = lines.lines().find(|line| line.starts_with(kind))?;
        let per_second = line.split(':').nth(3)?.parse::<f64>().ok()?;
        Some(format!("{:.1} us", 1e6 / per_second))
    };
    let named = |kind| sign(kind).unwrap_or_else(|| "unknown".into());
    format!("openssl speed on the host, one signature: P-256 {}, RSA-2048 {}", named("+F4:"), named("+F2:"))
}
