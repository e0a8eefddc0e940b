//! A card in memory, and a terminal that speaks to it.
#![allow(dead_code, reason = "each of the test programs that share it uses its own part")]

use std::collections::BTreeMap;

use cardhost_guest::{
    Card,
    platform::{NotCommitted, Platform},
};
use cardhost_wire::{
    apdu::{CommandApdu, ResponseApdu},
    control::{
        Answer, Command, Commit, Credential, Failure, GuestMessage, HostMessage, Launch, SealedRecord,
        SessionState, Started, VERSION,
    },
    key::KeyReference,
    port::{Port, Protocol},
    tlv::object,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// The well-known PIN as it is sent.
pub const PIN: &[u8] = b"123456\xFF\xFF";
/// The well-known PUK.
pub const PUK: &[u8] = b"12345678";
/// The well-known management key.
pub const MANAGEMENT_KEY: [u8; 24] = [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8];

/// What the host stores, and how many commits it will still store.
#[derive(Clone)]
pub struct Host {
    records: BTreeMap<u16, Vec<u8>>,
    head: Option<Vec<u8>>,
    /// Commits stored so far.
    pub commits: usize,
    /// Commits that will be stored before the host refuses.
    pub willing: usize,
    /// Bytes of each commit that it was offered, stored or not.
    pub offered: Vec<usize>,
    /// False: what it stores it does not say, as when the power goes just then.
    pub acknowledges: bool,
    /// The credentials that the last commit told.
    pub credentials: Vec<Credential>,
    hardware: ChaCha20Rng,
}

impl Host {
    /// A host that has stored nothing. Its hardware generator repeats itself for the same seed.
    pub fn new(hardware_seed: u8) -> Self {
        Self {
            records: BTreeMap::new(),
            head: None,
            commits: 0,
            willing: usize::MAX,
            offered: Vec::new(),
            acknowledges: true,
            credentials: Vec::new(),
            hardware: ChaCha20Rng::from_seed([hardware_seed; 32]),
        }
    }

    /// A host that has stored this state.
    pub fn storing(state: Commit) -> Self {
        let records = state.put.into_iter().map(|record| (record.id, record.sealed)).collect();
        Self { records, head: Some(state.head), credentials: state.credentials, ..Self::new(7) }
    }

    /// All that it has stored, in the form of one commit: what [`Self::storing`] takes.
    pub fn state(&self) -> Commit {
        let (put, credentials) = (self.records(), self.credentials.clone());
        let head = self.head.clone().expect("a card that has committed");
        Commit { epoch: self.commits as u64, put, delete: vec![], head, credentials }
    }

    /// The stored records.
    pub fn records(&self) -> Vec<SealedRecord> {
        let records = self.records.clone().into_iter();
        records.map(|(id, sealed)| SealedRecord { id, sealed }).collect()
    }

    /// The stored head.
    pub fn head(&self) -> Option<Vec<u8>> {
        self.head.clone()
    }
}

impl Platform for Host {
    fn commit(&mut self, commit: Commit) -> Result<(), NotCommitted> {
        self.offered.push(GuestMessage::Commit(commit.clone()).encode().len());
        self.willing = self.willing.checked_sub(1).ok_or(NotCommitted)?;
        commit.delete.iter().for_each(|id| drop(self.records.remove(id)));
        self.records.extend(commit.put.into_iter().map(|record| (record.id, record.sealed)));
        self.head = Some(commit.head);
        self.credentials = commit.credentials;
        self.commits += 1;
        if self.acknowledges { Ok(()) } else { Err(NotCommitted) }
    }

    fn hardware_random(&mut self) -> Option<u64> {
        Some(self.hardware.next_u64())
    }
}

/// How a terminal's commands reach its card, where that is not in plain.
pub type Path = Box<dyn FnMut(&mut Card<Host>, Protocol, &[u8]) -> Vec<u8>>;

/// A terminal with its card.
pub struct Terminal {
    card: Card<Host>,
    started: Option<Started>,
    /// The communication protocol that it speaks.
    pub protocol: Protocol,
    /// The way to the card.
    pub path: Option<Path>,
}

impl Terminal {
    /// A new card with the well-known secrets, PIV selected.
    pub fn new() -> Self {
        Self::with(true)
    }

    /// A new card that nobody has personalised, PIV selected.
    pub fn blank() -> Self {
        Self::with(false)
    }

    fn with(default_keys: bool) -> Self {
        Self::start(Host::new(9), default_keys)
    }

    /// A card that opens what this host stores, PIV selected.
    pub fn start(host: Host, default_keys: bool) -> Self {
        let mut terminal = Self::start_at_root(host, default_keys);
        terminal.select();
        terminal
    }

    /// A card that opens what this host stores, as after a reset.
    pub fn start_at_root(host: Host, default_keys: bool) -> Self {
        let (head, state) = (host.head(), host.records());
        let (started, protocol, path) = (None, Protocol::ApduGate, None);
        let mut terminal = Self { card: Card::new(host), started, protocol, path };
        assert!(terminal.tell(HostMessage::Launch(launch(default_keys))).is_none());
        assert!(terminal.tell(HostMessage::State(state)).is_none());
        match terminal.tell(HostMessage::Start(head)) {
            Some(GuestMessage::Started(started)) => terminal.started = Some(started),
            other => panic!("{other:?}"),
        }
        terminal
    }

    /// The same card after its power was cut.
    pub fn restarted(self) -> Self {
        let mut terminal = self.restarted_at_root();
        terminal.select();
        terminal
    }

    /// The same card after its power was cut, which may not have PIV to select any more.
    pub fn restarted_at_root(mut self) -> Self {
        let mut host = std::mem::replace(self.card.platform_mut(), Host::new(8));
        (host.willing, host.acknowledges) = (usize::MAX, true);
        Self::start_at_root(host, false)
    }

    /// The host below the card.
    pub fn host(&mut self) -> &mut Host {
        self.card.platform_mut()
    }

    /// What the card told when it started.
    pub fn started(&self) -> &Started {
        self.started.as_ref().unwrap()
    }

    /// The card itself.
    pub fn card(&mut self) -> &mut Card<Host> {
        &mut self.card
    }

    fn tell(&mut self, message: HostMessage) -> Option<GuestMessage> {
        let answer = self.card.transmit(Port::Control, &message.encode())?;
        Some(GuestMessage::decode(&answer).unwrap())
    }

    /// One command of the host.
    pub fn command(&mut self, command: Command) -> Result<Answer, Failure> {
        match self.tell(HostMessage::Command(7, command)) {
            Some(GuestMessage::Answer(7, answer)) => answer,
            _ => panic!("no answer"),
        }
    }

    /// What the card says of its sessions.
    pub fn session_state(&mut self) -> SessionState {
        match self.tell(HostMessage::SessionState) {
            Some(GuestMessage::SessionState(state)) => state,
            other => panic!("{other:?}"),
        }
    }

    /// Raw bytes to the card and back.
    pub fn transmit(&mut self, command: &[u8]) -> Vec<u8> {
        match &mut self.path {
            Some(path) => path(&mut self.card, self.protocol, command),
            None => self.transmit_in_plain(command),
        }
    }

    /// The same, whatever the way.
    pub fn transmit_in_plain(&mut self, command: &[u8]) -> Vec<u8> {
        self.card.transmit(Port::Apdu(self.protocol), command).unwrap()
    }

    /// Selects the root and then PIV: all that the session proved is gone.
    pub fn select(&mut self) {
        assert_eq!(self.status(0xA4, 4, 0, &[]), 0x9000);
        assert_eq!(self.status(0xA4, 4, 0, &hex("A000000308")), 0x9000);
    }

    /// One command with extended lengths.
    pub fn send(&mut self, ins: u8, p1: u8, p2: u8, data: &[u8]) -> (Vec<u8>, u16) {
        let command = CommandApdu { cla: 0, ins, p1, p2, data, le: Some(65_536), extended: true };
        let response = ResponseApdu::parse(&self.transmit(&command.to_bytes())).unwrap();
        (response.data, response.status.0)
    }

    /// One command's status word.
    pub fn status(&mut self, ins: u8, p1: u8, p2: u8, data: &[u8]) -> u16 {
        self.send(ins, p1, p2, data).1
    }

    /// One command that must succeed.
    pub fn ok(&mut self, ins: u8, p1: u8, p2: u8, data: &[u8]) -> Vec<u8> {
        let (data, status) = self.send(ins, p1, p2, data);
        assert_eq!(status, 0x9000, "{status:04X} from {ins:02X}");
        data
    }

    /// VERIFY.
    pub fn verify(&mut self, pin: &[u8]) -> u16 {
        self.status(0x20, 0, 0x80, pin)
    }

    /// VERIFY without data.
    pub fn pin_status(&mut self) -> u16 {
        self.status(0x20, 0, 0x80, &[])
    }

    /// Mutual authentication with a Triple DES management key.
    pub fn authenticate(&mut self) {
        assert_eq!(self.authenticate_with(0x03, &MANAGEMENT_KEY), 0x9000);
    }

    /// External authentication with any management key.
    pub fn authenticate_with(&mut self, algorithm: u8, key: &[u8]) -> u16 {
        let (answer, status) = self.send(0x87, algorithm, 0x9B, &hex("7C028100"));
        if status != 0x9000 {
            return status;
        }
        let response = encrypted(algorithm, key, &answer[4..]);
        self.status(0x87, algorithm, 0x9B, &object(0x7C, &object(0x82, &response)))
    }

    /// GENERATE ASYMMETRIC KEY PAIR; answers the public key's objects.
    pub fn generate(&mut self, reference: u8, algorithm: u8) -> Vec<u8> {
        let answer = self.ok(0x47, 0, reference, &[0xAC, 3, 0x80, 1, algorithm]);
        cardhost_wire::tlv::only(&answer, 0x7F49).unwrap().to_vec()
    }

    /// GENERAL AUTHENTICATE with a private key: the response's value, or the status word.
    pub fn use_key(&mut self, algorithm: u8, reference: u8, tag: u32, input: &[u8]) -> Result<Vec<u8>, u16> {
        let template = object(0x7C, &[object(0x82, &[]), object(tag, input)].concat());
        let (answer, status) = self.send(0x87, algorithm, reference, &template);
        if status != 0x9000 {
            return Err(status);
        }
        let inner = cardhost_wire::tlv::only(&answer, 0x7C).unwrap();
        Ok(cardhost_wire::tlv::only(inner, 0x82).unwrap().to_vec())
    }

    /// The keys that the host knows of as credentials.
    pub fn credentials(&mut self) -> Vec<KeyReference> {
        let keys = self.host().credentials.iter().filter_map(Credential::key);
        keys.map(|key| key.key_reference).collect()
    }
}

/// A launch with fixed values.
pub fn launch(default_keys: bool) -> Launch {
    Launch {
        version: VERSION,
        seed: [1; 32],
        card: [2; 16],
        owner: [3; 32],
        image_policy: [4; 32],
        card_key: [5; 32],
        default_keys,
    }
}

/// One block under a management key.
pub fn encrypted(algorithm: u8, key: &[u8], block: &[u8]) -> Vec<u8> {
    use cardhost_guest::crypto::{BlockCipher, CipherAlgorithm};
    let algorithm = match algorithm {
        0x08 => CipherAlgorithm::Aes128,
        0x0A => CipherAlgorithm::Aes192,
        0x0C => CipherAlgorithm::Aes256,
        _ => CipherAlgorithm::TripleDes,
    };
    let mut block = block.to_vec();
    BlockCipher::new(algorithm, key).unwrap().encrypt(&mut block).unwrap();
    block
}

/// Bytes from hexadecimal text.
pub fn hex(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

/// Plays a script, byte for byte: `>` command, `<` response, in which `..` stands for any bytes.
pub fn play(terminal: &mut Terminal, script: &str) {
    play_by(script, |command| terminal.transmit(command));
}

/// The same, in plain on this protocol.
pub fn play_on(terminal: &mut Terminal, protocol: Protocol, script: &str) {
    play_by(script, |command| terminal.card().transmit(Port::Apdu(protocol), command).unwrap());
}

fn play_by(script: &str, mut transmit: impl FnMut(&[u8]) -> Vec<u8>) {
    let mut answer = Vec::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.split_at(2) {
            ("> ", command) => answer = transmit(&hex(command)),
            ("< ", expected) => assert!(fits(&answer, expected), "{line} but {}", hex::encode_upper(&answer)),
            _ => panic!("{line}"),
        }
    }
}

fn fits(answer: &[u8], expected: &str) -> bool {
    match expected.split_once("..") {
        Some((start, end)) => answer.starts_with(&hex(start)) && answer.ends_with(&hex(end)),
        None => answer == hex(expected),
    }
}
