//! What passes a program's Unix sockets, by strace(1): nothing in the program helps.

use std::{fs, process::Stdio};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, Command},
};

use crate::{process::interrupt, soon};

/// Every call that moves bytes through a descriptor.
const CALLS: &str = "trace=read,readv,recvfrom,recvmsg,recvmmsg,write,writev,sendto,sendmsg,sendmmsg";
/// Longer than any message.
const WHOLE: &str = "1000000";

/// strace(1), listening at a program's descriptors.
pub struct Tap {
    strace: Child,
    stderr: Lines<BufReader<ChildStderr>>,
    directory: TempDir,
}

impl Tap {
    /// Listens from now on.
    pub async fn attach(pid: u32) -> Self {
        let directory = TempDir::new().expect("a directory");
        let mut strace = Command::new("strace");
        // One file for each thread, or calls would be cut in two where threads take turns.
        strace.args(["-ff", "-yy", "-xx", "-s", WHOLE, "-e", CALLS, "-p", &pid.to_string(), "-o"]);
        strace.arg(directory.path().join("thread"));
        strace.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut strace = strace.spawn().expect("strace starts");
        let mut stderr = BufReader::new(strace.stderr.take().expect("piped")).lines();
        let line = soon("strace attaches", stderr.next_line()).await.expect("its output");
        assert!(line.as_ref().is_some_and(|line| line.contains(" attached")), "{line:?}");
        Self { strace, stderr, directory }
    }

    /// Lets the program go. Answers the bytes of each call on a Unix socket.
    pub async fn detach(mut self) -> Vec<Vec<u8>> {
        interrupt(self.strace.id().expect("it runs"));
        while soon("strace's end", self.stderr.next_line()).await.expect("its output").is_some() {}
        soon("strace's end", self.strace.wait()).await.expect("a child");
        let files = fs::read_dir(self.directory.path()).expect("its files");
        let texts = files.map(|file| fs::read_to_string(file.expect("a file").path()).expect("text"));
        texts
            .flat_map(|text| {
                text.lines().filter(|line| line.contains("<UNIX")).map(bytes).collect::<Vec<_>>()
            })
            .collect()
    }
}

/// The strings of a line, one after the other.
fn bytes(line: &str) -> Vec<u8> {
    let strings = line.split('"').skip(1).step_by(2);
    strings.flat_map(|string| hex::decode(string.replace("\\x", "")).expect("hexadecimal")).collect()
}
