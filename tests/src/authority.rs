//! The reference authority as a program of its own.

use std::{collections::BTreeSet, ffi::OsString, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::KeyPair;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    client::{Client, Device},
    front::Front,
    process::{Server, command},
};

/// A running `cardhost-authority serve`.
pub struct Authority {
    /// Its process.
    pub server: Server,
    directory: TempDir,
}

impl Authority {
    /// An authority with fresh keys.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// An authority with fresh keys and these further options.
    pub async fn start_with(options: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let server = serve(directory.path(), "127.0.0.1:0", options).await;
        Self { server, directory }
    }

    /// Starts it again on the same data folder and address. The old process must have ended.
    pub async fn restart(&mut self) {
        let address = self.server.url.strip_prefix("https://").expect("an https URL").to_owned();
        self.server = serve(self.directory.path(), &address, &[]).await;
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        self.directory.path()
    }

    /// Options with which a daemon reaches it through a front.
    pub fn options(&self, front: &Front) -> Vec<OsString> {
        let file = |name: &str| self.data().join(name).into_os_string();
        let ca = front.trusted().as_os_str().to_owned();
        vec![
            "--authority".into(),
            front.url().into(),
            "--authority-ca".into(),
            ca,
            "--authority-cert".into(),
            file("host.pem"),
            "--authority-key".into(),
            file("host.key"),
        ]
    }

    /// Revokes a certificate (DER), as its operator does.
    pub async fn revoke(&self, certificate: &[u8]) {
        let read = |name: &str| std::fs::read_to_string(self.data().join(name)).expect("its file");
        let key = KeyPair::from_pem(&read("host.key")).expect("a key");
        let host = Device::new(&read("host.pem"), &key);
        let client = Client::new(&self.server.url, &read("service-ca.pem"), Some(&host));
        let body = STANDARD.encode(certificate);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
        let answer = client.post("/v1/revocations", json!({ "certificate": pem })).await;
        assert_eq!(answer.expect("an answer")["revoked"], true);
    }

    /// Serial numbers of the certificates for users' keys that were issued and not revoked.
    pub fn valid(&self) -> BTreeSet<String> {
        self.serials(VALID)
    }

    /// Serial numbers of all certificates for users' keys that were issued.
    pub fn issued(&self) -> BTreeSet<String> {
        self.serials("SELECT hex(serial) FROM certificates WHERE ca = 'issuing'")
    }

    /// Serial numbers of the certificates for pairing keys that were issued and not revoked.
    pub fn valid_to_pair(&self) -> BTreeSet<String> {
        self.serials(VALID_TO_PAIR)
    }

    /// A copy of its data folder. It must not run.
    pub fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().expect("a temporary directory");
        copy_files(self.data(), copy.path());
        copy
    }

    /// Puts a copy of its data folder back. It must not run.
    pub fn put_back(&self, copy: &TempDir) {
        for file in std::fs::read_dir(self.data()).expect("its folder") {
            std::fs::remove_file(file.expect("a file").path()).expect("a file");
        }
        copy_files(copy.path(), self.data());
    }

    fn serials(&self, query: &str) -> BTreeSet<String> {
        serials(self.data(), query)
    }
}

/// Serial numbers of the certificates for users' keys that the authority of this data folder issued and did not revoke.
pub fn valid(data: &Path) -> BTreeSet<String> {
    serials(data, VALID)
}

/// The same of certificates for pairing keys.
pub fn valid_to_pair(data: &Path) -> BTreeSet<String> {
    serials(data, VALID_TO_PAIR)
}

const VALID: &str = "SELECT hex(serial) FROM certificates WHERE revoked_at IS NULL AND ca = 'issuing'";
const VALID_TO_PAIR: &str =
    "SELECT hex(serial) FROM certificates WHERE revoked_at IS NULL AND ca LIKE 'pairing-%'";

fn copy_files(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from).expect("a folder") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), to.join(file.file_name())).expect("a copy");
    }
}

fn serials(data: &Path, query: &str) -> BTreeSet<String> {
    let path = data.join("authority.sqlite");
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("its store");
    let mut statement = database.prepare(query).expect("its schema");
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).expect("serial numbers");
    rows.map(|serial| canonical(&serial.expect("text"))).collect()
}

/// Serial numbers of certificates as the daemon lists them.
pub fn listed(certificates: &[Value]) -> BTreeSet<String> {
    certificates.iter().map(|entry| canonical(entry["serial"].as_str().expect("a serial number"))).collect()
}

fn canonical(serial: &str) -> String {
    serial.to_uppercase().trim_start_matches('0').into()
}

async fn serve(data: &Path, listen: &str, options: &[&str]) -> Server {
    let mut serve = command("cardhost-authority", ["serve", "--listen", listen, "--data"]);
    serve.arg(data).args(options);
    let started = Server::start(serve, &data.join("test.log")).await;
    started.unwrap_or_else(|log| panic!("the authority does not start: {log}"))
}
