//! Processes by fork: a machine that is born in one, and one that answers over a socket.
#![expect(unsafe_code, reason = "raw system calls are what is measured")]

use std::{
    io::{Error, Read, Result, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
};

use super::kvm::{Kvm, Machine};

/// Forks a process that makes a machine, runs it to its first exit and says so; returns when it has.
pub fn birth(kvm: &Kvm) -> Result<()> {
    let (mut ours, mut theirs) = UnixStream::pair()?;
    let child = Child::fork(|| {
        kvm.machine()?.exit()?;
        theirs.write_all(&[0])
    })?;
    drop(theirs);
    let answer = ours.read_exact(&mut [0]);
    child.wait();
    answer
}

/// A process whose machine makes one exit for every message, which it then sends back.
pub struct Echo {
    socket: UnixStream,
    child: Option<Child>,
}

impl Echo {
    /// Starts it.
    pub fn start(kvm: &Kvm) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let child = Child::fork(|| {
            keep_only(kvm.as_raw_fd(), theirs.as_raw_fd())?;
            serve(&kvm.machine()?, &theirs)
        })?;
        Ok(Self { socket: ours, child: Some(child) })
    }

    /// One message there and back.
    pub fn exchange(&mut self, message: &[u8]) -> Result<()> {
        self.socket.write_all(message)?;
        let mut answer = [0; 64];
        self.socket.read_exact(&mut answer[..message.len()])
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // The child's read then ends.
        drop(self.socket.shutdown(std::net::Shutdown::Both));
        self.child.take().into_iter().for_each(Child::wait);
    }
}

fn serve(machine: &Machine, mut socket: &UnixStream) -> Result<()> {
    let mut message = [0; 64];
    loop {
        let length = socket.read(&mut message)?;
        if length == 0 {
            return Ok(());
        }
        machine.exit()?;
        socket.write_all(&message[..length])?;
    }
}

/// Closes what the copy has of its original beside the standard descriptors and these two.
fn keep_only(one: RawFd, other: RawFd) -> Result<()> {
    let (low, high) = (one.min(other), one.max(other));
    for (first, last) in [(3, low - 1), (low + 1, high - 1), (high + 1, RawFd::MAX)] {
        // SAFETY: the originals' owners are never used or dropped in the copy, which ends by `_exit`.
        if first <= last && unsafe { libc::close_range(first as u32, last as u32, 0) } != 0 {
            return Err(Error::last_os_error());
        }
    }
    Ok(())
}

struct Child(libc::pid_t);

impl Child {
    /// Runs `life` in a copy of this process, which ends after it.
    fn fork(life: impl FnOnce() -> Result<()>) -> Result<Self> {
        // SAFETY: called before any thread is started, so no lock is left held in the copy.
        match unsafe { libc::fork() } {
            -1 => Err(Error::last_os_error()),
            0 => {
                let code = i32::from(life().is_err());
                // SAFETY: ends the copy without running the original's destructors.
                unsafe { libc::_exit(code) }
            }
            child => Ok(Self(child)),
        }
    }

    fn wait(self) {
        // SAFETY: waits for our own child; its status is not asked for.
        unsafe { libc::waitpid(self.0, std::ptr::null_mut(), 0) };
    }
}
