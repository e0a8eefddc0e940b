//! A certification authority of somebody else's: EST and a CRL, by `tests/foreign/est.py` over OpenSSL.

use std::{ffi::OsString, fs, path::Path, process::Stdio};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::soon;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/foreign/est.py");

/// The running authority; it ends with this.
pub struct ForeignAuthority {
    folder: TempDir,
    url: String,
    _server: Child,
}

impl ForeignAuthority {
    /// Starts it with these options of the script.
    pub async fn start(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        fs::write(folder.path().join("password"), "a foreign password").expect("a password");
        let mut command = Command::new("python3");
        command.arg(SCRIPT).arg(folder.path()).args(options).kill_on_drop(true);
        let mut server = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
        let mut lines = BufReader::new(server.stdout.take().expect("piped")).lines();
        let ready =
            soon("the foreign authority", lines.next_line()).await.expect("its output").expect("a line");
        let mut words = ready.split(' ').skip(1);
        let url = words.next().expect("an address").to_owned();
        Self { folder, url, _server: server }
    }

    /// Options with which a daemon uses it.
    pub fn options(&self) -> Vec<OsString> {
        let file = |name: &str| self.folder.path().join(name).into_os_string();
        let mut options: Vec<OsString> =
            ["--authority", &self.url, "--authority-kind", "est"].map(Into::into).into();
        options.extend(["--authority-ca".into(), file("tls.pem")]);
        options.extend(["--authority-user".into(), "host".into()]);
        options.extend(["--authority-password-file".into(), file("password")]);
        options
    }

    /// Revokes a certificate, as its operator does.
    pub fn revoke(&self, serial: &str) {
        let certificate = format!("issued/{}.pem", serial.to_uppercase());
        openssl(self.folder.path(), &["ca", "-config", "openssl.cnf", "-revoke", &certificate]);
    }

    /// How many certificates it has issued.
    pub fn issued(&self) -> usize {
        fs::read_dir(self.folder.path().join("issued")).expect("its folder").count()
    }

    /// From now on answers are lost after a certificate was issued; or no more.
    pub fn lose_answers(&self, lose: bool) {
        let switch = self.folder.path().join("lose");
        let done = if lose { fs::write(switch, "") } else { fs::remove_file(switch) };
        done.expect("its folder");
    }
}

fn openssl(folder: &Path, arguments: &[&str]) {
    let done = std::process::Command::new("openssl").args(arguments).current_dir(folder).output();
    let done = done.expect("openssl");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
