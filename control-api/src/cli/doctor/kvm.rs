//! The virtual machine monitor of the kernel.

use std::{
    fs::OpenOptions,
    io::{self, ErrorKind},
};

use super::Finding;

const CHECK: &str = "/dev/kvm";

pub(super) fn check() -> Vec<Finding> {
    let opened = OpenOptions::new().read(true).write(true).open(CHECK);
    vec![
        opened
            .map_or_else(|error| refused(&error), |_| Finding::good(CHECK, "opens for reading and writing")),
    ]
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
