//! The daemon under test, in a temporary data directory.

use std::{ffi::OsString, path::Path};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    PROCESS_ISOLATION, cards_are_processes,
    client::{Client, Device},
    process::{Server, program},
    terminal::Terminal,
    user::OrdinaryUser,
};

/// Password of every user that tests make.
pub const PASSWORD: &str = "a good password";

/// A running `cardhost serve`.
pub struct Daemon {
    /// Its process.
    pub server: Server,
    directory: TempDir,
    /// The command up to the subcommand's name.
    program: Vec<OsString>,
    options: Vec<OsString>,
    administrator: Value,
}

impl Daemon {
    /// A daemon with its embedded authority.
    pub async fn start() -> Self {
        Self::start_with(Vec::new()).await
    }

    /// A daemon with further options of `cardhost serve`.
    pub async fn start_with(options: Vec<OsString>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let isolation = cards_are_processes().then(|| PROCESS_ISOLATION.into());
        let options = isolation.into_iter().chain(options).collect();
        Self::start_in(directory, vec![program("cardhost").into()], options).await
    }

    /// A daemon with its data in this directory.
    pub async fn start_on(directory: TempDir) -> Self {
        Self::start_in(directory, vec![program("cardhost").into()], Vec::new()).await
    }

    /// A daemon with cards as processes, even where they could be microVMs.
    pub async fn start_with_processes() -> Self {
        let options = vec![PROCESS_ISOLATION.into()];
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self::start_in(directory, vec![program("cardhost").into()], options).await
    }

    /// A daemon that an ordinary user runs, with further options of `cardhost serve`.
    pub async fn start_as(user: &OrdinaryUser, options: Vec<OsString>) -> Self {
        let directory = tempfile::tempdir_in(user.folder("daemon")).expect("a temporary directory");
        user.give(directory.path());
        Self::start_in(directory, user.command_line("cardhost"), options).await
    }

    async fn start_in(directory: TempDir, program: Vec<OsString>, options: Vec<OsString>) -> Self {
        let server = serve(&program, directory.path(), "127.0.0.1:0", &options).await;
        let file = std::fs::read_to_string(directory.path().join("admin.json")).expect("admin.json");
        let administrator = serde_json::from_str(&file).expect("admin.json is JSON");
        Self { server, directory, program, options, administrator }
    }

    /// `kill -9`, and a start on the same data directory and address.
    pub async fn kill_and_restart(&mut self) {
        self.server.kill().await;
        self.restart().await;
    }

    /// A start on the same data directory and address. The old process must have ended.
    pub async fn restart(&mut self) {
        self.restart_with(&[]).await;
    }

    /// The same with further options for this start alone.
    pub async fn restart_with(&mut self, options: &[&str]) {
        let options: Vec<_> = self.options.iter().cloned().chain(options.iter().map(Into::into)).collect();
        let address = self.address();
        self.server = serve(&self.program, self.directory.path(), &address, &options).await;
    }

    /// The same with other options of `cardhost serve` from now on.
    pub async fn restart_as(&mut self, options: Vec<OsString>) {
        let isolation = cards_are_processes().then(|| PROCESS_ISOLATION.into());
        self.options = isolation.into_iter().chain(options).collect();
        self.restart().await;
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        self.directory.path()
    }

    /// Address and port.
    pub fn address(&self) -> String {
        self.server.url.strip_prefix("https://").expect("an https URL").into()
    }

    /// The certificate to trust, PEM.
    pub fn ca_pem(&self) -> &str {
        self.administrator["ca_pem"].as_str().expect("ca_pem")
    }

    /// A client that is not logged in.
    pub fn anonymous(&self, device: Option<&Device>) -> Client {
        Client::new(&self.server.url, self.ca_pem(), device)
    }

    /// The administrator, logged in.
    pub async fn administrator(&self) -> Client {
        let text = |member: &str| self.administrator[member].as_str().expect("admin.json").to_owned();
        self.anonymous(None).log_in(&text("user"), &text("password")).await.expect("the administrator")
    }

    /// Makes a terminal and its user, enrols a device and logs in with it.
    pub async fn terminal(&self, terminal: &str, owner: &str) -> Terminal {
        let administrator = self.administrator().await;
        let user = json!({ "password": PASSWORD, "role": "user" });
        administrator.put(&format!("/v1/users/{owner}"), user).await.expect("a user");
        let setting = json!({ "owner": owner });
        administrator.put(&format!("/v1/terminals/{terminal}"), setting).await.expect("a terminal");
        Terminal::enrol(self, terminal, owner).await
    }

    /// A terminal's card as the administrator sees it.
    pub async fn card(&self, terminal: &str) -> Value {
        let path = format!("/v1/cards/{terminal}");
        self.administrator().await.get(&path).await.expect("the card's status")
    }

    /// The audited entries of this action.
    pub async fn audited(&self, action: &str) -> Vec<Value> {
        let page = self.administrator().await.get("/v1/audit?limit=1000").await.expect("the audit log");
        let links = page["entries"].as_array().expect("entries").iter();
        let entries = links.map(|link| link["entry"].as_str().expect("an entry"));
        let entries = entries.map(|entry| serde_json::from_str::<Value>(entry).expect("JSON"));
        entries.filter(|entry| entry["action"] == action).collect()
    }

    /// The process of a terminal's card, which must be live.
    pub async fn card_pid(&self, terminal: &str) -> u32 {
        let card = self.card(terminal).await;
        card["pid"].as_u64().unwrap_or_else(|| panic!("not live: {card}")) as u32
    }
}

async fn serve(program: &[OsString], data: &Path, listen: &str, options: &[OsString]) -> Server {
    let mut serve = Command::new(&program[0]);
    serve.args(&program[1..]).args(["serve", "--listen", listen, "--data"]).arg(data).args(options);
    let started = Server::start(serve, &data.with_extension("log")).await;
    started.unwrap_or_else(|log| panic!("the daemon does not start: {log}"))
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Beside the temporary directory, which removes only itself.
        let _ = std::fs::remove_file(self.directory.path().with_extension("log"));
    }
}
