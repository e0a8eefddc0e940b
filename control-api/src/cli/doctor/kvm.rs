//! The virtual machine monitor of the kernel.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    os::fd::AsRawFd as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::{Finding, layers};

const CHECK: &str = "/dev/kvm";
const TRIAL: &str = "microVM";

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    /// Of the device and a machine.
    pub(super) machine: Vec<Finding>,
    /// Of the layers that cards of a daemon started here would have.
    pub(super) layers: Vec<Finding>,
}

impl From<Finding> for Found {
    fn from(finding: Finding) -> Self {
        Self { machine: vec![finding], layers: Vec::new() }
    }
}

/// Tries it, with control groups below `parent` if one is given.
pub(super) fn check(parent: Option<&Path>) -> Found {
    match OpenOptions::new().read(true).write(true).open(CHECK) {
        Ok(_) => {
            let mut found = trial(parent);
            found.machine.insert(0, Finding::good(CHECK, "opens for reading and writing"));
            found
        }
        Err(error) => refused(&error).into(),
    }
}

/// Has the launcher that this program carries make one virtual machine, and say how its cards would be isolated.
fn trial(parent: Option<&Path>) -> Found {
    match run_launcher(parent) {
        Ok(output) if output.status.success() => Found {
            machine: vec![Finding::good(TRIAL, "one was made and ended")],
            layers: layers::of_trial(&String::from_utf8_lossy(&output.stdout)),
        },
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let advice =
                "see what it says; of KVM itself the kernel's log tells more: sudo dmesg | grep -i kvm";
            Finding::failure(TRIAL, said, advice).into()
        }
        Err(error) => {
            Finding::failure(TRIAL, error.to_string(), "allow programs to run from memory (memfd)").into()
        }
    }
}

fn run_launcher(parent: Option<&Path>) -> io::Result<Output> {
    let mut program = File::from(memfd_create("cardhost-vmm", MFdFlags::MFD_CLOEXEC)?);
    program.write_all(cardhost_image::VMM)?;
    // A file that is open for writing does not run: it is opened anew for reading.
    let readable = File::open(format!("/proc/self/fd/{}", program.as_raw_fd()))?;
    drop(program);
    Command::new(format!("/proc/self/fd/{}", readable.as_raw_fd()))
        .arg("--check")
        .args(parent)
        .env_clear()
        .stdin(Stdio::null())
        .output()
}

fn refused(error: &io::Error) -> Finding {
    let advice = match error.kind() {
        ErrorKind::PermissionDenied => "sudo usermod -aG kvm \"$USER\", then log in again",
        ErrorKind::NotFound => {
            "turn on virtualisation in the firmware (or nested virtualisation on the outer host), then \
             sudo modprobe kvm_intel or kvm_amd"
        }
        _ => "ask the kernel's log: sudo dmesg | grep -i kvm",
    };
    Finding::failure(CHECK, error.to_string(), advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Verdict;

    #[test]
    fn a_user_without_access_is_told_the_group() {
        let finding = refused(&io::Error::from(ErrorKind::PermissionDenied));
        assert_eq!(finding.verdict, Verdict::Failure);
        assert!(finding.advice.unwrap().contains("usermod -aG kvm"));
    }
}
