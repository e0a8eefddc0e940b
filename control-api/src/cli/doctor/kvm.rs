//! The virtual machine monitor of the kernel.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    os::fd::AsRawFd as _,
    process::{Command, Output, Stdio},
};

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::Finding;

const CHECK: &str = "/dev/kvm";
const TRIAL: &str = "microVM";
const LAYERS: &str = "card isolation";
/// What gives a daemon under systemd every layer.
const GRANT: &str = "run the daemon with AmbientCapabilities=CAP_SETUID CAP_SETGID CAP_SYS_ADMIN";

pub(super) fn check() -> Vec<Finding> {
    match OpenOptions::new().read(true).write(true).open(CHECK) {
        Ok(_) => [vec![Finding::good(CHECK, "opens for reading and writing")], trial()].concat(),
        Err(error) => vec![refused(&error)],
    }
}

/// Has the launcher that this program carries make one virtual machine, and say how its cards would be isolated.
fn trial() -> Vec<Finding> {
    match run_launcher() {
        Ok(output) if output.status.success() => {
            let said = String::from_utf8_lossy(&output.stdout);
            [vec![Finding::good(TRIAL, "one was made and ended")], layers(&said)].concat()
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            vec![Finding::failure(TRIAL, said, "ask the kernel's log: sudo dmesg | grep -i kvm")]
        }
        Err(error) => {
            vec![Finding::failure(TRIAL, error.to_string(), "allow programs to run from memory (memfd)")]
        }
    }
}

fn layers(said: &str) -> Vec<Finding> {
    let missing = said.lines().filter_map(|line| line.strip_prefix("layer missing: "));
    let missing: Vec<_> = missing.map(|layer| Finding::warning(LAYERS, layer, GRANT)).collect();
    if missing.is_empty() { vec![Finding::good(LAYERS, "all hold here")] } else { missing }
}

fn run_launcher() -> io::Result<Output> {
    let mut program = File::from(memfd_create("cardhost-vmm", MFdFlags::MFD_CLOEXEC)?);
    program.write_all(cardhost_image::VMM)?;
    // A file that is open for writing does not run: it is opened anew for reading.
    let readable = File::open(format!("/proc/self/fd/{}", program.as_raw_fd()))?;
    drop(program);
    Command::new(format!("/proc/self/fd/{}", readable.as_raw_fd()))
        .arg("--check")
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
    fn missing_layers_are_warnings() {
        let found =
            layers("cards can run here\nlayer missing: no root of their own\nlayer missing: no users\n");
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|finding| finding.verdict == Verdict::Warning));
        assert_eq!(found[0].observed, "no root of their own");
        assert_eq!(layers("cards can run here\n")[0].verdict, Verdict::Good);
    }

    #[test]
    fn a_user_without_access_is_told_the_group() {
        let finding = refused(&io::Error::from(ErrorKind::PermissionDenied));
        assert_eq!(finding.verdict, Verdict::Failure);
        assert!(finding.advice.unwrap().contains("usermod -aG kvm"));
    }
}
