//! Round trip of a 20-byte APDU that the card answers at once.
//!
//! | figure | way | floor |
//! |---|---|---|
//! | `apdu_in_vmm` | device and guest, in one process | a bare exit by a write to a device |
//! | `apdu_unix` | over the card's link to its process | a process that makes a bare exit for each message of a socket |
//! | `apdu_tls` | through the daemon and the terminal's channel | a TLS WebSocket echo + `apdu_unix` |

use anyhow::Result;
use tokio::runtime::Runtime;

use crate::{
    card::{Card, Streams, TWENTY_BYTES},
    daemon::Daemon,
    figure::{Effort, Figure, Report, Samples, in_turns},
    floor::{fork, kvm::Kvm, tls},
    in_process::InProcess,
    launcher::Launcher,
};

/// Measures all three.
pub fn measure(effort: Effort) -> Result<Report> {
    let kvm = Kvm::open()?;
    let mut report = Report::default();
    report.push(in_vmm(effort, &kvm)?);
    let (unix, figure) = unix(effort, &kvm)?;
    report.push(figure);
    // From here on there are threads, so nothing is forked any more.
    report.push(Runtime::new()?.block_on(tls(effort, unix))?);
    Ok(report)
}

fn in_vmm(effort: Effort, kvm: &Kvm) -> Result<Figure> {
    let mut card = Card::start(InProcess::launch()?)?;
    let bare = kvm.machine()?;
    let (figure, floor) = in_turns(effort, effort.fast, || exchange(&mut card), || Ok(bare.exit()?))?;
    Ok(Figure::time("apdu_in_vmm", &figure, floor.percentile(50)))
}

/// The figure, and its median for the next one's floor.
fn unix(effort: Effort, kvm: &Kvm) -> Result<(f64, Figure)> {
    let mut echo = fork::Echo::start(kvm)?;
    let launcher = Launcher::start(None, 0)?;
    let mut card = Card::start(launcher.card()?)?;
    let floor = || Ok(echo.exchange(&TWENTY_BYTES)?);
    let (figure, floor) = in_turns(effort, effort.fast, || exchange(&mut card), floor)?;
    Ok((figure.percentile(50), Figure::time("apdu_unix", &figure, floor.percentile(50))))
}

async fn tls(effort: Effort, unix: f64) -> Result<Figure> {
    let daemon = Daemon::start().await?;
    let mut channel = daemon.terminal("bench-terminal").await?.channel().await?;
    let mut echo = tls::Echo::connect(crate::TLS_ECHO).await?;
    let (mut figures, mut floors) = (Samples::default(), Samples::default());
    for _ in 0..effort.turns {
        for _ in 0..effort.fast {
            let start = std::time::Instant::now();
            channel.exchange(&TWENTY_BYTES).await?;
            figures.push(start.elapsed());
        }
        for _ in 0..effort.fast {
            let start = std::time::Instant::now();
            echo.exchange(&TWENTY_BYTES).await?;
            floors.push(start.elapsed());
        }
    }
    Ok(Figure::time("apdu_tls", &figures, floors.percentile(50) + unix))
}

fn exchange<S: Streams>(card: &mut Card<S>) -> Result<()> {
    card.transmit(&TWENTY_BYTES).map(drop)
}
