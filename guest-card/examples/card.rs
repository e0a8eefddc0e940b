//! A card in memory, for a quick look at it with another client: one command APDU per line of standard input, in
//! hexadecimal, and its response on standard output. An empty line resets the card.

use std::io::{BufRead, Write};

#[path = "../tests/piv/harness.rs"]
mod harness;

use cardhost_wire::port::{Port, Protocol};
use harness::Terminal;

fn main() -> std::io::Result<()> {
    let mut terminal = Terminal::new();
    for line in std::io::stdin().lock().lines() {
        let command = hex::decode(line?.trim()).unwrap_or_default();
        if command.is_empty() {
            terminal.card().reset(Port::Apdu(Protocol::ApduGate));
        } else {
            println!("{}", hex::encode(terminal.transmit(&command)));
            std::io::stdout().flush()?;
        }
    }
    Ok(())
}
