//! A store whose disk is full or that another process holds: what cannot be made durable is refused with a clear
//! error, nothing acknowledged is lost, and all goes on by itself once the obstacle is gone.

use cardhost_tests::{
    channel::Channel,
    client::{Refusal, refusal},
    daemon::{Daemon, PASSWORD},
    leftovers, needs_kvm, piv,
    small_disk::SmallDisk,
    terminal::{PIN, Terminal},
};
use cardhost_wire::{key::KeyReference, tlv};
use rusqlite::{Connection, TransactionBehavior};

const DIGEST: [u8; 32] = [0x42; 32];
/// The card's answer to what could not be made durable (ISO/IEC 7816-4, 5.6: memory failure).
const MEMORY_FAILURE: u16 = 0x6581;
/// Room for a daemon's data and some hundred commits.
const MEBIBYTES: u32 = 8;
/// An object that anybody may read.
const OBJECT: u32 = 0x5F_FF10;

struct Scene {
    daemon: Daemon,
    terminal: Terminal,
    channel: Channel,
    /// What the object holds.
    content: Vec<u8>,
}

impl Scene {
    async fn set(daemon: Daemon) -> Self {
        let terminal = daemon.terminal("till-1", "alice").await;
        terminal.first("9A").await.unwrap();
        terminal.create("9E").await.unwrap();
        let channel = terminal.present().await;
        let mut scene = Self { daemon, terminal, channel, content: Vec::new() };
        scene.make_ready().await;
        assert_eq!(scene.put(0).await, 0x9000);
        scene
    }

    async fn make_ready(&mut self) {
        self.channel.expect(&piv::select(), 0x9000).await;
        let challenge = self.channel.expect(&piv::management_challenge(), 0x9000).await;
        let key = &cardhost_tests::terminal::MANAGEMENT_KEY;
        self.channel.expect(&piv::management_response(&challenge, key), 0x9000).await;
    }

    /// Writes the object; remembers it if that was acknowledged.
    async fn put(&mut self, number: usize) -> u16 {
        let content = vec![number as u8; 600 + number % 7];
        let answer = self.channel.transmit(&piv::put(OBJECT, &content)).await;
        let status = u16::from_be_bytes(answer[answer.len() - 2..].try_into().unwrap());
        if status == 0x9000 {
            self.content = content;
        }
        status
    }

    /// What was acknowledged last is there, and signing, which writes nothing, works.
    async fn holds(&mut self) {
        let stored = self.channel.expect(&piv::read(OBJECT), 0x9000).await;
        assert_eq!(tlv::only(&stored, 0x53), Ok(&self.content[..]));
        self.channel.expect(&piv::sign(KeyReference::CARD_AUTHENTICATION, &DIGEST), 0x9000).await;
    }

    /// What REST answers to something that must be stored.
    async fn log_in(&self) -> Result<(), Refusal> {
        self.daemon.anonymous(None).log_in("alice", PASSWORD).await.map(drop)
    }

    /// Everything is as acknowledged and works, also after a sudden end.
    async fn recovered(mut self) {
        self.holds().await;
        assert_eq!(self.put(1).await, 0x9000);
        self.log_in().await.unwrap();
        leftovers::assert_sound(self.daemon.data());
        self.daemon.kill_and_restart().await;
        self.channel = self.terminal.present().await;
        self.make_ready().await;
        self.holds().await;
        for certificate in self.terminal.certificates().await {
            let answer = self.terminal.authenticate(&certificate, Some(PIN)).await.unwrap();
            assert_eq!(answer["result"], "success");
            self.terminal.delete(&certificate).await.unwrap();
        }
        leftovers::settled(self.daemon.data()).await;
        leftovers::assert_none(self.daemon.data());
    }
}

#[tokio::test]
async fn a_full_disk_refuses_changes_loses_nothing_and_needs_no_restart() {
    needs_kvm!();
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(module_path!(), folder.path(), MEBIBYTES) else { return };
    let mut scene = Scene::set(Daemon::start_on(folder).await).await;
    disk.fill();
    // The log's pages that are there already still take some commits.
    let mut number = 2;
    while scene.put(number).await == 0x9000 {
        number += 1;
    }
    assert_eq!(scene.put(number).await, MEMORY_FAILURE);
    scene.holds().await;
    assert_eq!(scene.log_in().await, Err(refusal(507, "store-full")));
    let made = scene.terminal.create("9C").await;
    assert!(made.as_ref().is_err_and(|refusal| matches!(refusal.status, 503 | 507)), "{made:?}");
    scene.holds().await;
    assert_eq!(scene.terminal.certificates().await.len(), 2);
    disk.free();
    scene.recovered().await;
}

#[tokio::test]
async fn a_store_that_another_process_holds_refuses_changes_and_hangs_nobody() {
    needs_kvm!();
    let mut scene = Scene::set(Daemon::start().await).await;
    let mut other = Connection::open(scene.daemon.data().join("store.db")).unwrap();
    let held = other.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    assert_eq!(scene.put(2).await, MEMORY_FAILURE);
    assert_eq!(scene.log_in().await, Err(refusal(503, "store-unavailable")));
    scene.holds().await;
    drop(held);
    drop(other);
    scene.recovered().await;
}
