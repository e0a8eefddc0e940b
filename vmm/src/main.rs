//! `cardhost-vmm`: started by the daemon, with the launcher's socket as its standard input.

use std::{io::IsTerminal, os::fd::AsFd, path::Path, process::ExitCode};

use cardhost_vmm::launcher::{self, explain};
use cardhost_wire::layers::Layer;

const HELP: &str = "\
cardhost-vmm - the microVM launcher of cardhost

It is started by `cardhost serve`, with a socket as its standard input, and forks one process per card.
It has no use of its own but:

  --check [CGROUP]  make one virtual machine and say whether cards can run on this host,
                    and which layers of isolation they would have, with control groups
                    below CGROUP if it is given
  --version         print the version
  --help            print this text";

fn main() -> ExitCode {
    let (what, group) = (std::env::args().nth(1), std::env::args().nth(2));
    match what.as_deref() {
        None if std::io::stdin().is_terminal() => usage(ExitCode::from(2)),
        None => serve(),
        Some("--check") => {
            end(launcher::check(group.as_deref().map(Path::new)).map(|layers| report(&layers)))
        }
        Some("--version") => {
            println!("cardhost-vmm {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Some("--help" | "-h") => usage(ExitCode::SUCCESS),
        Some(_) => usage(ExitCode::from(2)),
    }
}

fn serve() -> ExitCode {
    match std::io::stdin().as_fd().try_clone_to_owned() {
        Ok(socket) => end(launcher::run(socket)),
        Err(error) => end(Err(error)),
    }
}

fn report(layers: &[Layer]) {
    println!("cards can run here");
    layers.iter().for_each(|layer| println!("{layer}"));
}

fn end<E: std::error::Error>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cardhost-vmm: {}", explain(&error));
            ExitCode::FAILURE
        }
    }
}

fn usage(code: ExitCode) -> ExitCode {
    println!("{HELP}");
    code
}
