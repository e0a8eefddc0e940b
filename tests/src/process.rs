//! Programs under test and the processes they start.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStdout, Command},
};

use crate::{PATIENCE, soon};

/// The program of this name, as built beside the tests.
pub fn program(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("a test has an executable");
    let path = tests.parent().and_then(Path::parent).expect("target/release/deps").join(name);
    assert!(path.exists(), "{} is missing: cargo build --release -p {name}", path.display());
    path
}

/// A running server program. Killed on drop; its log is shown if the test fails.
pub struct Server {
    child: Child,
    log: PathBuf,
    /// What it said after `ready `.
    pub url: String,
    // Closing it would make the program's next line an error.
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Starts a program and waits for its line `ready URL`; or tells what its log says.
    pub async fn start(mut command: Command, log: &Path) -> Result<Self, String> {
        let file = File::options().create(true).append(true).open(log).expect("a log file");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file).kill_on_drop(true);
        let mut child = command.spawn().expect("the program starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        soon("the line `ready`", stdout.read_line(&mut line)).await.expect("standard output");
        match line.trim_end().strip_prefix("ready ") {
            Some(url) => Ok(Self { child, log: log.into(), url: url.into(), _stdout: stdout }),
            None => {
                soon("the program's end", child.wait()).await.expect("a child");
                Err(fs::read_to_string(log).unwrap_or_default())
            }
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// `kill -9`, and waits for its end.
    pub async fn kill(&mut self) {
        soon("the end of a killed program", self.child.kill()).await.expect("it can be killed");
    }

    /// SIGTERM, and waits for its end. True if it ended in order.
    pub async fn terminate(&mut self) -> bool {
        send(self.pid(), Signal::TERM);
        soon("the end of a terminated program", self.child.wait()).await.expect("a child").success()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let tail = lines.len().saturating_sub(60);
            eprintln!("--- {}\n{}", self.log.display(), lines[tail..].join("\n"));
        }
    }
}

/// A command of a program built beside the tests.
pub fn command<S: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program(name));
    command.args(arguments);
    command
}

/// `kill -9` of any process.
pub fn kill(pid: u32) {
    send(pid, Signal::KILL);
}

/// Asks a process to end as its user would.
pub fn interrupt(pid: u32) {
    send(pid, Signal::INT);
}

/// Lets a stopped process go on.
pub fn proceed(pid: u32) {
    send(pid, Signal::CONT);
}

fn send(pid: u32, signal: Signal) {
    // A process that has ended meanwhile is what was wanted.
    let _ = kill_process(known(pid), signal);
}

/// Waits until a process that is not the caller's child has ended.
pub async fn ended(pid: u32) {
    let Ok(descriptor) = pidfd_open(known(pid), PidfdFlags::empty()) else { return };
    let wait = move || poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&patience()));
    let ready = soon("the end of a process", tokio::task::spawn_blocking(wait)).await;
    assert_eq!(ready.expect("no panic"), Ok(1), "process {pid} does not end");
}

/// The children of a process.
pub fn children(parent: u32) -> Vec<u32> {
    processes().filter(|&pid| stat(pid, PARENT) == Some(parent)).collect()
}

/// The processes of a session, which a launcher makes for itself and its cards; they stay in it when it is gone.
pub fn in_session(session: u32) -> Vec<u32> {
    processes().filter(|&pid| stat(pid, SESSION) == Some(session)).collect()
}

/// Where the numbers stand in `/proc/PID/stat` behind the name, see proc(5).
const PARENT: usize = 1;
const SESSION: usize = 3;

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("/proc");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn stat(pid: u32, field: usize) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    stat.rsplit_once(") ")?.1.split(' ').nth(field)?.parse().ok()
}

fn patience() -> Timespec {
    Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 }
}

fn known(pid: u32) -> Pid {
    Pid::from_raw(pid as i32).expect("no process has the number 0")
}
