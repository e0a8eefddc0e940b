//! The host key sealed by a real TPM 2.0 in software: at rest, over restarts, against old copies, and killed at each step.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use cardhost_vmm::{
    launcher::host_keys::{ChangeError, HostKeys, HostKeysError},
    tpm::{NvIndex, Tpm, TpmError},
};
use cardhost_wire::{
    custody::{Custody, Kept, KeptReply, KeptRequest, Sealing},
    launch::{Hello, Isolation, Refusal, Reply, Request},
    wrapping::{BUCKETS, Bucket, KeyReply, KeyRequest, WrappingKey},
};
use tempfile::TempDir;

use crate::{
    guest::Guest,
    launcher::{Launcher, hello, kvm},
    swtpm::{Swtpm, can_run},
};

const ONE: Bucket = Bucket(1);
/// By these a test and its process agree on what the process does.
const FILE: &str = "CARDHOST_TEST_HOST_KEY";
const TCTI: &str = "CARDHOST_TEST_TCTI";
/// Whatever changes something that outlives the process, and what it learns of it by.
const STEPS: [&str; 6] = ["write", "read", "fsync", "linkat", "renameat", "unlinkat"];

/// A folder for a host key, and a TPM.
struct Host {
    folder: TempDir,
    tpm: Swtpm,
}

impl Host {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), tpm: Swtpm::start() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("host.key")
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.file()).unwrap()
    }

    fn opened(&self, sealing: Sealing) -> Result<HostKeys, HostKeysError> {
        HostKeys::open_with(&self.file(), sealing, connected(&self.tpm))
    }

    fn keys(&self) -> HostKeys {
        self.opened(Sealing::Kept).unwrap()
    }

    /// A copy of the file as it is, in a folder of its own.
    fn copy(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(self.file(), folder.path().join("host.key")).unwrap();
        folder
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.folder.path()).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn connected(tpm: &Swtpm) -> Tpm {
    Tpm::connect(&tpm.tcti().parse().unwrap()).unwrap()
}

/// Every present key.
fn present(keys: &HostKeys) -> Vec<[u8; 32]> {
    Bucket::all().map(|bucket| *keys.present(bucket).unwrap().1).collect()
}

fn generation(keys: &HostKeys) -> u32 {
    keys.present(ONE).unwrap().0.generation
}

fn contains(bytes: &[u8], keys: &[[u8; 32]]) -> bool {
    keys.iter().any(|key| bytes.windows(32).any(|window| window == key))
}

#[test]
fn keys_are_sealed_at_rest_and_survive_the_tpm_s_restart() {
    if !can_run("keys sealed at rest") {
        return;
    }
    for tpm in [Swtpm::start(), Swtpm::start_on_a_port()] {
        let mut host = Host { folder: tempfile::tempdir().unwrap(), tpm };
        let mut keys = host.keys();
        let made = present(&keys);
        assert_eq!(made.len(), BUCKETS);
        assert!(!contains(&host.bytes(), &made));
        keys.rotate(&[ONE]).unwrap();
        let earlier = made[1];
        assert!(!contains(&host.bytes(), &present(&keys)));
        drop(keys);
        host.tpm = host.tpm.power_cycle();
        let mut keys = host.keys();
        assert_eq!((generation(&keys), keys.under_way()), (2, vec![ONE]));
        keys.retire(&[ONE]).unwrap();
        let last = present(&keys);
        assert!(last[1] != earlier && last[2..] == made[2..]);
        drop(keys);
        host.tpm = host.tpm.power_cycle();
        assert_eq!(present(&host.keys()), last);
        assert_eq!(host.names(), ["host.key"]);
    }
}

#[test]
fn another_tpm_and_none_refuse_and_lose_nothing() {
    if !can_run("another TPM") {
        return;
    }
    let host = Host::new();
    let made = present(&host.keys());
    let (other, before) = (Swtpm::start(), host.bytes());
    for sealing in [Sealing::Kept, Sealing::Begun, Sealing::Ended] {
        let refused = HostKeys::open_with(&host.file(), sealing, connected(&other));
        assert!(matches!(refused, Err(HostKeysError::OtherTpm { .. })));
    }
    assert!(matches!(HostKeys::open(&host.file()), Err(HostKeysError::Sealed { .. })));
    let unreachable = Tpm::connect(&"swtpm:path=/nowhere".parse().unwrap());
    assert!(matches!(unreachable, Err(TpmError::Unreachable { .. })));
    assert_eq!((host.bytes(), host.names()), (before, vec!["host.key".to_owned()]));
    assert_eq!(present(&host.keys()), made);
    // A TPM with keys of another host.
    let stranger = Host { folder: tempfile::tempdir().unwrap(), tpm: other };
    drop(stranger.keys());
    fs::copy(host.file(), stranger.file()).unwrap();
    assert!(matches!(stranger.opened(Sealing::Kept), Err(HostKeysError::OtherTpm { .. })));
}

#[test]
fn no_earlier_copy_opens_once_a_key_was_destroyed() {
    if !can_run("earlier copies") {
        return;
    }
    let host = Host::new();
    let mut keys = host.keys();
    let first = host.copy();
    keys.rotate(&[ONE]).unwrap();
    let second = host.copy();
    keys.retire(&[ONE]).unwrap();
    let last = present(&keys);
    drop(keys);
    for copy in [&first, &second] {
        for sealing in [Sealing::Kept, Sealing::Begun, Sealing::Ended] {
            let path = copy.path().join("host.key");
            let refused = HostKeys::open_with(&path, sealing, connected(&host.tpm));
            assert!(matches!(refused, Err(HostKeysError::Closed { .. })));
        }
    }
    assert_eq!(present(&host.keys()), last);
}

#[test]
fn a_plain_file_moves_into_the_tpm_and_out_of_it() {
    if !can_run("moves into a TPM") {
        return;
    }
    let host = Host::new();
    let mut plain = HostKeys::open(&host.file()).unwrap();
    plain.rotate(&[ONE]).unwrap();
    let made = present(&plain);
    drop(plain);
    assert!(contains(&host.bytes(), &made));
    // Without being asked to, it seals no file: that might be an old one.
    assert!(matches!(host.opened(Sealing::Kept), Err(HostKeysError::NotSealed { .. })));
    for _ in 0..2 {
        let keys = host.opened(Sealing::Begun).unwrap();
        assert_eq!((present(&keys), keys.under_way()), (made.clone(), vec![ONE]));
        assert!(!contains(&host.bytes(), &made));
    }
    assert_eq!(present(&host.keys()), made);
    let sealed = host.copy();
    for _ in 0..2 {
        assert_eq!(present(&host.opened(Sealing::Ended).unwrap()), made);
        assert_eq!(present(&HostKeys::open(&host.file()).unwrap()), made);
    }
    // The TPM has nothing of it any more.
    let refused = HostKeys::open_with(&sealed.path().join("host.key"), Sealing::Kept, connected(&host.tpm));
    assert!(matches!(refused, Err(HostKeysError::OtherTpm { .. })));
    assert_eq!(host.names(), ["host.key"]);
}

#[test]
fn a_tpm_that_is_lost_meanwhile_loses_nothing() {
    if !can_run("a lost TPM") {
        return;
    }
    let mut host = Host::new();
    let mut keys = host.keys();
    let before = present(&keys);
    let off = host.tpm.switched_off();
    keys.rotate(&[ONE]).unwrap();
    let rotated = present(&keys);
    for _ in 0..2 {
        assert!(matches!(keys.retire(&[ONE]), Err(ChangeError::Tpm(_))));
        assert_eq!(keys.under_way(), [ONE]);
    }
    // Not while it is not known which file is valid.
    assert!(matches!(keys.rotate(&[Bucket(2)]), Err(ChangeError::Tpm(_))));
    drop(keys);
    host.tpm = off.on();
    let mut keys = host.keys();
    assert_eq!(present(&keys), rotated);
    assert!(keys.under_way() == [ONE] && rotated != before);
    keys.retire(&[ONE]).unwrap();
    assert_eq!((present(&keys), host.names()), (rotated, vec!["host.key".to_owned()]));
}

#[test]
fn what_a_tpm_says_is_told() {
    if !can_run("a TPM's answers") {
        return;
    }
    let swtpm = Swtpm::start();
    let mut tpm = connected(&swtpm);
    let (index, mut value) = (NvIndex(0x0180_0002), [0; 4]);
    assert!(matches!(tpm.read(index, &mut value), Err(TpmError::NotDefined(_))));
    assert!(matches!(tpm.write(index, &[1; 4]), Err(TpmError::NotDefined(_))));
    assert!(matches!(tpm.undefine(index), Err(TpmError::NotDefined(_))));
    tpm.define(index, 4).unwrap();
    assert!(matches!(tpm.define(index, 4), Err(TpmError::Defined(_))));
    assert!(matches!(tpm.read(index, &mut value), Err(TpmError::Unwritten(_))));
    tpm.write(index, &[1, 2, 3, 4]).unwrap();
    tpm.read(index, &mut value).unwrap();
    assert_eq!(value, [1, 2, 3, 4]);
    let refused = tpm.write(index, &[0; 5]).unwrap_err().to_string();
    assert!(refused.contains("NV_Write: TPM_RC_NV_RANGE"), "{refused}");
    tpm.undefine(index).unwrap();
}

/// Killed at every step of a file's first sealing, a rotation and a retirement: the host starts, with the keys that it
/// must have and nothing beside them.
#[test]
fn a_kill_at_each_step_leaves_a_host_that_starts() {
    if !can_run("kills with a TPM") || !can_trace() {
        return;
    }
    let plain = tempfile::tempdir().unwrap();
    let plain = plain.path().join("host.key");
    let made = present(&HostKeys::open(&plain).unwrap());
    for step in STEPS {
        let host = Host::new();
        for count in 1.. {
            fs::copy(&plain, host.file()).unwrap();
            let ended = rotated_in_another_process(&host, step, count);
            let keys = opened_after_a_kill(&host);
            let earlier = keys.find(WrappingKey { bucket: ONE, generation: 1 });
            let destroyed = generation(&keys) == 2 && keys.under_way().is_empty();
            assert_eq!(earlier, (!destroyed).then_some(&made[1]), "{step} {count}");
            assert!(present(&keys)[2..] == made[2..] && !contains(&host.bytes(), &made[2..]));
            assert_eq!(host.names(), ["host.key"], "{step} {count}");
            drop(keys);
            // The TPM's place is free again for the next.
            drop(host.opened(Sealing::Ended).unwrap());
            if ended.success() {
                assert!(destroyed && count > 1, "{step} is a step");
                break;
            }
            assert_eq!(ended.signal(), Some(9), "{step} {count}: {ended}");
        }
    }
}

fn opened_after_a_kill(host: &Host) -> HostKeys {
    host.opened(Sealing::Begun).unwrap_or_else(|error| panic!("{error}: {:?}", host.names()))
}

fn can_trace() -> bool {
    let tried = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    let can = tried.is_ok_and(|status| status.success());
    if !can {
        eprintln!("\n### DID NOT RUN: kills with a TPM: strace is missing or may not trace ###");
    }
    can
}

/// Kills the process at its n-th system call of this name.
fn rotated_in_another_process(host: &Host, step: &str, count: usize) -> ExitStatus {
    let inject = format!("inject={step}:signal=KILL:when={count}");
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-f", "-o", "/dev/null", "-e", &format!("trace={step}"), "-e", &inject]);
    strace.arg(std::env::current_exe().unwrap());
    strace.args(["--exact", "tpm::rotates_for_a_test", "--ignored", "--test-threads=1", "--quiet"]);
    strace.env(FILE, host.file()).env(TCTI, host.tpm.tcti());
    strace.stdout(std::process::Stdio::null()).status().unwrap()
}

#[test]
#[ignore = "the process that is killed"]
fn rotates_for_a_test() {
    let [file, tcti] = [FILE, TCTI].map(|name| std::env::var(name).unwrap());
    let tpm = Tpm::connect(&tcti.parse().unwrap()).unwrap();
    let mut keys = HostKeys::open_with(Path::new(&file), Sealing::Begun, tpm).unwrap();
    if keys.under_way().is_empty() {
        keys.rotate(&[ONE]).unwrap();
    }
    keys.retire(&[ONE]).unwrap();
}

fn hello_with(custody: &Custody, host_key: &Path) -> Hello {
    let (guest, host_key) = (Guest::card(), host_key.to_str().unwrap().to_owned());
    Hello { custody: custody.clone(), measurement: guest.measurement, host_key, ..hello() }
}

/// The whole launcher, which has no network and no file any more when it writes to the TPM.
#[test]
fn the_launcher_reaches_its_tpm_for_as_long_as_it_runs() {
    if !can_run("a launcher with a TPM") || !kvm() {
        return;
    }
    let tpm = Swtpm::start_on_a_port();
    let custody = Custody::Tpm(Sealing::Kept, tpm.tcti().parse().unwrap());
    let launcher = Launcher::spawn(None);
    launcher.introduce(Guest::card(), hello_with(&custody, &launcher.host_key()));
    launcher.ready(Isolation::MicroVm);
    let bucket = Bucket(7);
    let first = launcher.card().wrapped_key;
    assert!(matches!(launcher.keys(KeyRequest::Rotate(vec![bucket])), KeyReply::Rotated(_)));
    let later = launcher.starts(&first).unwrap();
    assert!(matches!(launcher.keys(KeyRequest::Retire(vec![bucket])), KeyReply::Retired(_)));
    assert_eq!(launcher.kept(KeptRequest::Find), KeptReply::Found(None));
    let value = Kept((0..64).collect());
    assert_eq!(launcher.kept(KeptRequest::Put(value.clone())), KeptReply::Put);
    assert!(matches!(launcher.kept(KeptRequest::Put(Kept(vec![1]))), KeptReply::Failed(_)));
    let Launcher { folder, mut process, .. } = launcher;
    process.kill().unwrap();
    process.wait().unwrap();

    let next = Launcher::spawn(None);
    next.introduce(Guest::card(), hello_with(&custody, &folder.path().join("host.key")));
    next.ready(Isolation::MicroVm);
    assert_eq!((next.starts(&first), next.starts(&later)), (Err(Refusal::WrappedKey), Ok(later.clone())));
    assert_eq!(next.kept(KeptRequest::Find), KeptReply::Found(Some(value)));
}

#[test]
fn without_a_tpm_a_launcher_keeps_nothing_for_the_daemon() {
    if !kvm() {
        return;
    }
    let launcher = Launcher::new(Guest::card());
    assert!(matches!(launcher.kept(KeptRequest::Find), KeptReply::Failed(_)));
}

impl Launcher {
    fn kept(&self, request: KeptRequest) -> KeptReply {
        self.request(&Request::Kept(request), None);
        match self.reply(|reply| matches!(reply, Reply::Kept(_))) {
            Reply::Kept(reply) => reply,
            _ => unreachable!("asked for"),
        }
    }
}
