//! Halts a program at its n-th durable write, by strace(1): nothing in the program helps.
//!
//! strace counts for each thread; the n-th write of all is found by halting the program at every one.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, Command},
};

use crate::soon;

/// strace(1), attached to a program. Dropping it lets the program go.
pub struct Saboteur {
    strace: Child,
    lines: Lines<BufReader<ChildStderr>>,
    pid: u32,
    /// The write that is waited for, counted from 1.
    write: u32,
}

/// True if strace(1) may trace here; otherwise says loudly that this test does not run.
pub fn can_trace(test: &str) -> bool {
    let tried = std::process::Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    let can = tried.is_ok_and(|status| status.success());
    if !can {
        eprintln!("\n### DID NOT RUN: {test}: strace is missing or may not trace ###");
    }
    can
}

impl Saboteur {
    /// Lies in wait for the process's n-th fsync(2) or fdatasync(2) from now on, counted from 1.
    pub async fn attach(pid: u32, write: u32) -> Self {
        let inject = "inject=fsync,fdatasync:signal=STOP:when=1+";
        let mut strace = Command::new("strace");
        strace.args(["-f", "-e", "trace=fsync,fdatasync", "-e", inject, "-p", &pid.to_string()]);
        strace.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut strace = strace.spawn().expect("strace starts");
        let lines = BufReader::new(strace.stderr.take().expect("piped")).lines();
        let mut saboteur = Self { strace, lines, pid, write };
        saboteur.line(" attached").await.expect("strace attaches");
        saboteur
    }

    /// Halts the program at its n-th write and returns; before, it goes on.
    pub async fn strike(&mut self) {
        for write in 1.. {
            self.line("--- SIGSTOP {").await.expect("the program lives");
            if write == self.write {
                return;
            }
            crate::process::proceed(self.pid);
        }
    }

    /// Lets the program go on, at all writes that follow too.
    pub async fn release(self) {
        let pid = self.pid;
        self.detach().await;
        crate::process::proceed(pid);
    }

    /// Lets the program go.
    pub async fn detach(mut self) {
        soon("strace's end", self.strace.kill()).await.expect("strace can be killed");
    }

    /// The next line that contains this text, `None` at the end.
    async fn line(&mut self, text: &str) -> Option<String> {
        loop {
            let line = soon("a line of strace", self.lines.next_line()).await.expect("its output")?;
            if line.contains(text) {
                return Some(line);
            }
        }
    }
}
