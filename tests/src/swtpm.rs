//! A TPM 2.0 in software, swtpm(8): the reference implementation's code behind a socket, with a state of its own.

use std::{
    io::Write as _,
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixListener},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

/// A running TPM; killed on drop.
pub struct Swtpm {
    process: Power,
    off: SwitchedOff,
}

/// The process; killed on drop.
struct Power(Child);

/// Its data channel.
enum Channel {
    Socket,
    Port(u16),
}

/// True if swtpm(8) is installed; otherwise says loudly that this test does not run.
pub fn can_run(test: &str) -> bool {
    let found = Command::new("swtpm").arg("--version").output();
    let can = found.is_ok_and(|output| output.status.success());
    if !can {
        let _ = writeln!(std::io::stderr(), "\n### DID NOT RUN: {test}: swtpm is missing ###");
    }
    can
}

impl Swtpm {
    /// A new one behind a Unix socket.
    pub fn start() -> Self {
        Self::switched_on(tempfile::tempdir().expect("a temporary directory"), Channel::Socket)
    }

    /// A new one behind a TCP port that was free.
    pub fn start_on_a_port() -> Self {
        Self::switched_on(tempfile::tempdir().expect("a temporary directory"), Channel::Port(0))
    }

    /// How it is reached, as operators write it.
    pub fn tcti(&self) -> String {
        match self.off.channel {
            Channel::Socket => format!("swtpm:path={}", self.off.state.path().join("tpm").display()),
            Channel::Port(port) => format!("swtpm:host=127.0.0.1,port={port}"),
        }
    }

    /// Takes its power and gives it back; what it holds in non-volatile memory stays.
    pub fn power_cycle(self) -> Self {
        self.switched_off().on()
    }

    /// Takes its power.
    pub fn switched_off(self) -> SwitchedOff {
        drop(self.process);
        self.off
    }

    /// It listens before it runs: nobody has to wait for it. To swtpm a listener is a listener, of whatever family.
    fn switched_on(state: TempDir, channel: Channel) -> Self {
        let (listener, channel) = match channel {
            Channel::Socket => {
                let path = state.path().join("tpm");
                let _ = std::fs::remove_file(&path);
                (OwnedFd::from(UnixListener::bind(path).expect("a socket")), channel)
            }
            Channel::Port(port) => {
                let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
                let port = listener.local_addr().expect("bound").port();
                (OwnedFd::from(listener), Channel::Port(port))
            }
        };
        let mut swtpm = Command::new("swtpm");
        swtpm.args(["socket", "--tpm2", "--flags", "not-need-init", "--server", "type=unixio,fd=0"]);
        swtpm.arg("--tpmstate");
        swtpm.arg(format!("dir={}", state.path().display()));
        let process = swtpm.stdin(Stdio::from(listener)).stderr(Stdio::null()).spawn().expect("swtpm starts");
        Self { process: Power(process), off: SwitchedOff { state, channel } }
    }
}

impl Drop for Power {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A TPM without power.
pub struct SwitchedOff {
    state: TempDir,
    channel: Channel,
}

impl SwitchedOff {
    /// Gives it power again.
    pub fn on(self) -> Swtpm {
        Swtpm::switched_on(self.state, self.channel)
    }
}
