//! What stands in the daemon's memory while it serves, and passes its Unix sockets: no key of the host or of a card, and
//! nothing of what a paired terminal says. Only root can look.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
};

use aes_gcm_siv::{
    Aes256GcmSiv, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use cardhost_tests::{
    channel::Channel,
    daemon::Daemon,
    needs_kvm,
    pairing::{PairingDevice, through},
    piv,
    process::children,
    saboteur::can_trace,
    tap::Tap,
    terminal::{self, Terminal, id, wish},
};
use cardhost_wire::key::KeyReference;
use memchr::memmem::find_iter;
use rusqlite::Connection;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// A PIN that stands nowhere else.
const PIN: &str = "73519482";

/// Everything readable in a process.
struct Memory(Vec<Vec<u8>>);

impl Memory {
    fn of(pid: u32) -> Self {
        let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        Self(maps.lines().filter_map(|line| mapping(&memory, line)).collect())
    }

    fn count(&self, needle: &[u8]) -> usize {
        let count = |bytes: &Vec<u8>| find_iter(bytes, needle).count();
        self.0.iter().map(count).sum()
    }
}

/// None for what the kernel does not let anybody read.
fn mapping(memory: &File, line: &str) -> Option<Vec<u8>> {
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).expect("an address"));
    let mut bytes = vec![0; (end - start) as usize];
    memory.read_exact_at(&mut bytes, start).ok()?;
    Some(bytes)
}

/// The wrapping keys of the host key's file.
fn wrapping_keys(data: &Path) -> Vec<[u8; 32]> {
    let file = fs::read(data.join("host.key")).unwrap();
    file[96..].chunks_exact(72).map(|bucket| bucket[8..40].try_into().unwrap()).collect()
}

/// The key of the only card, opened with the host's keys.
fn card_key(data: &Path, keys: &[[u8; 32]]) -> Vec<u8> {
    let store = Connection::open(data.join("store.db")).unwrap();
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let (card, terminal, wrapped): ([u8; 16], String, Vec<u8>) =
        store.query_row("SELECT card, terminal, wrapped_key FROM cards", [], row).unwrap();
    let (head, sealed) = wrapped.split_at(wrapped.len() - 60);
    let (nonce, sealed) = sealed.split_first_chunk::<12>().unwrap();
    let aad = [b"cardhost card key v2\0", &card[..], &Sha256::digest(terminal), head].concat();
    let cipher = Aes256GcmSiv::new(&keys[usize::from(card[0])].into());
    cipher.decrypt(&Nonce::from(*nonce), Payload { msg: sealed, aad: &aad }).unwrap()
}

#[tokio::test]
async fn the_daemons_memory_holds_no_key_of_the_host_or_of_a_card() {
    needs_kvm!();
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let daemon = Daemon::start().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    let mut wish = wish("9A");
    wish["pin"] = PIN.into();
    let certificate = terminal.client.post(&terminal.path("certificates"), wish).await.unwrap();
    let mut channel = terminal.present().await;
    channel.expect(&piv::select(), 0x9000).await;
    channel.expect(&piv::verify(PIN), 0x9000).await;
    assert_eq!(terminal.authenticate(&certificate, Some(PIN)).await.unwrap()["result"], "success");
    daemon.card_pid("till-1").await;

    channel.close().await;
    drop(terminal);
    let keys = wrapping_keys(daemon.data());
    let card_key = card_key(daemon.data(), &keys);
    let launcher = children(daemon.server.pid()).remove(0);
    let (daemon_memory, launcher_memory) = (Memory::of(daemon.server.pid()), Memory::of(launcher));
    // The search finds what is there: the certificate's id in the one, the keys in the other.
    assert!(daemon_memory.count(id(&certificate).as_bytes()) > 0);
    for key in &keys {
        assert_eq!((daemon_memory.count(key), launcher_memory.count(key)), (0, 1));
    }
    assert_eq!((daemon_memory.count(&card_key), launcher_memory.count(&card_key)), (0, 0));
}

/// A terminal in a paired session with its card.
struct Paired {
    terminal: Terminal,
    certificate: Value,
    device: PairingDevice,
    channel: Channel,
}

impl Paired {
    async fn of(daemon: &Daemon) -> Self {
        let terminal = daemon.terminal("till-1", "alice").await;
        let certificate = terminal.first("9A").await.unwrap();
        let device = PairingDevice::enrol(&terminal, terminal::PIN).await;
        let channel = terminal.present().await;
        Self { terminal, certificate, device, channel }
    }

    /// Inserts the card, and answers what is told in the session only: the PIN, what is signed, its signature.
    async fn speak(&mut self) -> [Vec<u8>; 3] {
        let mut session = self.device.insert(&mut self.channel).await.unwrap();
        let digest: [u8; 32] = Sha256::digest(b"signed in a paired session").into();
        let sign = piv::sign(KeyReference::AUTHENTICATION, &digest);
        let mut response = Vec::new();
        for command in [piv::select(), piv::change(terminal::PIN, PIN), piv::verify(PIN), sign] {
            response = through(&mut session, &mut self.channel, &command).await.unwrap();
            assert!(response.ends_with(&[0x90, 0x00]), "{response:02X?}");
        }
        let signature = response[response.len() - 34..response.len() - 2].to_vec();
        [PIN.into(), digest.to_vec(), signature]
    }
}

#[tokio::test]
async fn the_daemons_memory_holds_nothing_of_a_paired_session() {
    needs_kvm!();
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let daemon = Daemon::start().await;
    let mut paired = Paired::of(&daemon).await;
    let secrets = paired.speak().await;
    let memory = Memory::of(daemon.server.pid());
    assert!(memory.count(id(&paired.certificate).as_bytes()) > 0);
    for secret in secrets {
        assert_eq!(memory.count(&secret), 0, "{}", hex::encode(secret));
    }
}

#[tokio::test]
async fn the_cards_link_carries_nothing_of_a_paired_session_in_plain() {
    if !can_trace("the_cards_link_carries_nothing_of_a_paired_session_in_plain") {
        return;
    }
    let daemon = Daemon::start().await;
    let mut paired = Paired::of(&daemon).await;
    let tap = Tap::attach(daemon.server.pid()).await;
    let secrets = paired.speak().await;
    // What is not secured does pass here in plain.
    let mut plain = paired.terminal.open_on("spi").await.unwrap();
    plain.until("present").await;
    plain.expect(&piv::select(), 0x9000).await;
    plain.expect(&piv::verify(PIN), 0x9000).await;
    drop(plain);
    let passed = tap.detach().await;
    let count = |needle: &[u8]| passed.iter().map(|bytes| find_iter(bytes, needle).count()).sum::<usize>();
    let [pin, digest, signature] = &secrets;
    assert_eq!((count(&piv::verify(PIN)), count(pin)), (1, 1), "the one in plain");
    assert_eq!((count(digest), count(signature)), (0, 0));
    assert!(count(&[0x84, 0xC2, 0x00, 0x00, 0x00]) > 4, "each command of the session");
}
