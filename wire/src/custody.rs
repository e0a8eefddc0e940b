//! Where a host's wrapping keys are kept, and what else its TPM keeps for the daemon.
//!
//! ```text
//! file ──into-tpm:TCTI──▶ tpm:TCTI ──out-of-tpm:TCTI──▶ file
//! ```
//!
//! A TPM is named in the way of the TPM software stack: a TCTI (TCG TSS 2.0 TAB, TPM Command Transmission Interface)
//! and its configuration.

use alloc::{borrow::ToOwned, string::String, vec::Vec};
use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Where the host's wrapping keys are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Custody {
    /// In the file, which opens to whoever reads it.
    #[default]
    File,
    /// In the file, sealed under a key that only this TPM has.
    Tpm(Sealing, Tcti),
}

/// What becomes of the file at a start with a TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sealing {
    /// It must be sealed; a new one is made so.
    Kept,
    /// It becomes sealed, if it is not yet.
    Begun,
    /// It is opened for good, if it is sealed.
    Ended,
}

/// How a TPM is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tcti {
    /// A character device, best the kernel's resource manager.
    Device(String),
    /// A software TPM's data channel, TCP.
    Swtpm {
        /// Name or address of its host.
        host: String,
        /// Port.
        port: u16,
    },
    /// A software TPM's data channel, a Unix socket.
    SwtpmPath(String),
}

/// The default of `tpm2-tss` where the configuration names no host or port.
const SWTPM: (&str, u16) = ("localhost", 2321);
/// The kernel's resource manager.
const DEVICE: &str = "/dev/tpmrm0";

impl Custody {
    /// The TPM that is needed.
    pub const fn tcti(&self) -> Option<&Tcti> {
        match self {
            Self::File => None,
            Self::Tpm(_, tcti) => Some(tcti),
        }
    }

    /// True if the TPM keeps the keys from this start on.
    pub const fn is_sealed(&self) -> bool {
        matches!(self, Self::Tpm(Sealing::Kept | Sealing::Begun, _))
    }
}

/// This names no custody or TCTI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotACustody;

impl fmt::Display for NotACustody {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(
            "not one of file, tpm:TCTI, into-tpm:TCTI, out-of-tpm:TCTI with a TCTI of device:/dev/tpmrm0, \
             swtpm:host=HOST,port=PORT or swtpm:path=SOCKET",
        )
    }
}

impl core::error::Error for NotACustody {}

impl FromStr for Custody {
    type Err = NotACustody;

    fn from_str(text: &str) -> Result<Self, NotACustody> {
        match text.split_once(':') {
            None if text == "file" => Ok(Self::File),
            Some(("tpm", tcti)) => Ok(Self::Tpm(Sealing::Kept, tcti.parse()?)),
            Some(("into-tpm", tcti)) => Ok(Self::Tpm(Sealing::Begun, tcti.parse()?)),
            Some(("out-of-tpm", tcti)) => Ok(Self::Tpm(Sealing::Ended, tcti.parse()?)),
            _ => Err(NotACustody),
        }
    }
}

impl FromStr for Tcti {
    type Err = NotACustody;

    fn from_str(text: &str) -> Result<Self, NotACustody> {
        let (name, configuration) = text.split_once(':').unwrap_or((text, ""));
        match (name, configuration) {
            ("device", "") => Ok(Self::Device(DEVICE.to_owned())),
            ("device", path) => Ok(Self::Device(path.to_owned())),
            ("swtpm", configuration) => swtpm(configuration),
            _ => Err(NotACustody),
        }
    }
}

fn swtpm(configuration: &str) -> Result<Tcti, NotACustody> {
    let (mut host, mut port) = (SWTPM.0.to_owned(), SWTPM.1);
    for setting in configuration.split(',').filter(|setting| !setting.is_empty()) {
        match setting.split_once('=') {
            Some(("path", path)) if setting == configuration => return Ok(Tcti::SwtpmPath(path.to_owned())),
            Some(("host", name)) => host = name.to_owned(),
            Some(("port", number)) => port = number.parse().map_err(|_| NotACustody)?,
            _ => return Err(NotACustody),
        }
    }
    Ok(Tcti::Swtpm { host, port })
}

impl fmt::Display for Tcti {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(path) => write!(formatter, "device:{path}"),
            Self::Swtpm { host, port } => write!(formatter, "swtpm:host={host},port={port}"),
            Self::SwtpmPath(path) => write!(formatter, "swtpm:path={path}"),
        }
    }
}

/// Bytes of what the TPM keeps for the daemon beside the key.
pub const KEPT: usize = 64;

/// What the TPM keeps for the daemon, [`KEPT`] bytes of its own making.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept(pub Vec<u8>);

/// About it, from the daemon to the launcher; one at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeptRequest {
    /// Answered by [`KeptReply::Found`].
    Find,
    /// Keep this from now on. Answered by [`KeptReply::Put`].
    Put(Kept),
}

/// The launcher's answer to a [`KeptRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeptReply {
    /// What the TPM keeps, `None` before the first.
    Found(Option<Kept>),
    /// It is kept durably.
    Put,
    /// The TPM did not do it, for this reason.
    Failed(String),
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn what_an_operator_writes_is_understood_or_refused() {
        let swtpm = |host: &str, port| Tcti::Swtpm { host: host.to_owned(), port };
        let device = |path: &str| Tcti::Device(path.to_owned());
        let understood = [
            ("file", Custody::File),
            ("tpm:device:/dev/tpm0", Custody::Tpm(Sealing::Kept, device("/dev/tpm0"))),
            ("into-tpm:device", Custody::Tpm(Sealing::Begun, device("/dev/tpmrm0"))),
            ("tpm:swtpm:host=::1,port=9", Custody::Tpm(Sealing::Kept, swtpm("::1", 9))),
            ("tpm:swtpm:port=9", Custody::Tpm(Sealing::Kept, swtpm("localhost", 9))),
            (
                "out-of-tpm:swtpm:path=/run/tpm",
                Custody::Tpm(Sealing::Ended, Tcti::SwtpmPath("/run/tpm".to_owned())),
            ),
        ];
        for (text, custody) in understood {
            assert_eq!(text.parse(), Ok(custody.clone()), "{text}");
            let named = custody.tcti().map(|tcti| tcti.to_string().parse());
            assert_eq!(named, custody.tcti().cloned().map(Ok), "{text}");
        }
        for text in ["", "tpm", "files", "tpm:", "tpm:mssim:", "tpm:swtpm:port=x", "tpm:swtpm:path=/a,port=1"]
        {
            assert_eq!(text.parse::<Custody>(), Err(NotACustody), "{text}");
        }
    }
}
