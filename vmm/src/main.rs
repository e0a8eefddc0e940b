//! `cardhost-vmm`: started by the daemon, with the launcher's socket as its standard input.

use std::{io::IsTerminal, os::fd::AsFd, process::ExitCode};

use cardhost_vmm::launcher::{self, explain, isolation::MissingLayer};

const HELP: &str = "\
cardhost-vmm - the microVM launcher of cardhost

It is started by `cardhost serve`, with a socket as its standard input, and forks one process per card.
It has no use of its own but:

  --check     make one virtual machine and say whether cards can run on this host,
              and which layers of their isolation would be missing
  --version   print the version
  --help      print this text";

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None if std::io::stdin().is_terminal() => usage(ExitCode::from(2)),
        None => serve(),
        Some("--check") => end(launcher::check().map(|missing| report(&missing))),
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

fn report(missing: &[MissingLayer]) {
    println!("cards can run here");
    missing.iter().for_each(|layer| println!("layer missing: {layer}"));
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
