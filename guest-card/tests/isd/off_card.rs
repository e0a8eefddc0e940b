//! An off-card entity: it opens a secure channel and speaks through it, written from the specification beside the
//! card's own code.
#![allow(dead_code, reason = "each of the test programs that share it uses its own part")]

use cardhost_guest::crypto::{AesKey, Block};
use cardhost_wire::apdu::{CommandApdu, ResponseApdu};

use crate::harness::Terminal;

/// The well-known key, thrice the same.
pub const WELL_KNOWN: [u8; 16] =
    [0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4A, 0x4B, 0x4C, 0x4D, 0x4E, 0x4F];
const HOST_CHALLENGE: [u8; 16] = [0x5A; 16];
/// AID of the issuer's security domain.
pub const ISSUER: [u8; 8] = [0xA0, 0, 0, 0x01, 0x51, 0, 0, 0];

/// A key set as the off-card entity knows it.
#[derive(Clone)]
pub struct Set {
    /// Key version number.
    pub kvn: u8,
    /// ENC, MAC and DEK.
    pub keys: [Vec<u8>; 3],
    /// S16 mode.
    pub long: bool,
}

impl Set {
    /// The well-known set.
    pub fn well_known() -> Self {
        Self { kvn: 0x30, keys: [(); 3].map(|()| WELL_KNOWN.to_vec()), long: false }
    }

    /// A set of made-up keys of this length.
    pub fn made_up(kvn: u8, length: u8) -> Self {
        let key = |first: u8| (0..length).map(|at| first.wrapping_add(at)).collect();
        let long = (0x50..=0x5F).contains(&kvn);
        Self { kvn, keys: [key(0x10 ^ kvn), key(0x40 ^ kvn), key(0x70 ^ kvn)], long }
    }
}

/// How an off-card entity treats an empty data field where data are encrypted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Empty {
    /// As it is.
    Plain,
    /// Padding alone.
    Padded,
}

/// An open channel.
pub struct OffCard {
    enc: AesKey,
    mac: AesKey,
    rmac: AesKey,
    /// Encrypts keys.
    pub dek: AesKey,
    chaining: Block,
    commands: u8,
    level: u8,
    length: usize,
    /// The logical channel.
    pub channel: u8,
    /// What to do with empty data.
    pub empty: Empty,
    /// Send extended lengths.
    pub extended: bool,
}

/// What INITIALIZE UPDATE answered, and the channel that may come of it.
pub struct Initiated {
    /// The response data.
    pub answer: Vec<u8>,
    /// The host cryptogram.
    pub cryptogram: Vec<u8>,
    /// With S-MAC and no command sent.
    pub off_card: OffCard,
}

/// Selects an application by its AID on the basic channel.
pub fn select(terminal: &mut Terminal, aid: &[u8]) -> u16 {
    terminal.status(0xA4, 4, 0, aid)
}

/// One command with this class byte, with extended lengths.
pub fn send(terminal: &mut Terminal, header: [u8; 4], data: &[u8]) -> (Vec<u8>, u16) {
    let [cla, ins, p1, p2] = header;
    transmit(terminal, &CommandApdu { cla, ins, p1, p2, data, le: Some(65_536), extended: true })
}

fn transmit(terminal: &mut Terminal, command: &CommandApdu<'_>) -> (Vec<u8>, u16) {
    let answer = terminal.transmit(&command.to_bytes());
    let response = ResponseApdu::parse(&answer).unwrap();
    (response.data, response.status.0)
}

fn derived(key: &[u8], constant: u8, context: &[u8], length: usize) -> Vec<u8> {
    let key = AesKey::new(key).unwrap();
    let bits = (8 * length as u16).to_be_bytes();
    let blocks = (1..=2).flat_map(|counter| {
        key.cmac(&[&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, constant, 0, bits[0], bits[1], counter], context])
    });
    blocks.take(length).collect()
}

/// INITIALIZE UPDATE with a key set, on a logical channel.
pub fn initialize_update(terminal: &mut Terminal, set: &Set, channel: u8) -> Result<Initiated, u16> {
    let length = if set.long { 16 } else { 8 };
    let host_challenge = &HOST_CHALLENGE[..length];
    let (answer, status) = send(terminal, [0x80 | channel, 0x50, set.kvn, 0], host_challenge);
    if status != 0x9000 {
        return Err(status);
    }
    Ok(Initiated::new(set, host_challenge, answer, channel))
}

/// The challenge of a card that counts its sessions (Amendment D, 6.2.2.1), from what INITIALIZE UPDATE answered.
pub fn card_challenge(set: &Set, aid: &[u8], answer: &[u8]) -> Vec<u8> {
    let (counter, length) = (&answer[answer.len() - 3..], if set.long { 16 } else { 8 });
    derived(&set.keys[0], 0x02, &[counter, aid].concat(), length)
}

impl Initiated {
    /// From an answer whose card cryptogram is right.
    pub fn new(set: &Set, host_challenge: &[u8], answer: Vec<u8>, channel: u8) -> Self {
        let length = host_challenge.len();
        let context = [host_challenge, &answer[13..13 + length]].concat();
        let [enc, mac, dek] = &set.keys;
        let session = |key: &[u8], constant| derived(key, constant, &context, key.len());
        let s_mac = session(mac, 0x06);
        let card_cryptogram = derived(&s_mac, 0x00, &context, length);
        assert_eq!(answer[13 + length..13 + 2 * length], card_cryptogram);
        let cryptogram = derived(&s_mac, 0x01, &context, length);
        let key = |bytes: &[u8]| AesKey::new(bytes).unwrap();
        let keys = [key(&session(enc, 0x04)), key(&s_mac), key(&session(mac, 0x07)), key(dek)];
        Self { answer, cryptogram, off_card: OffCard::new(keys, 0, [0; 16], length, channel) }
    }

    /// EXTERNAL AUTHENTICATE for this level.
    pub fn authenticate(self, terminal: &mut Terminal, level: u8) -> Result<OffCard, u16> {
        let mut off_card = self.off_card;
        off_card.level = 0x01;
        match off_card.send(terminal, [0x80, 0x82, level, 0], &self.cryptogram) {
            (_, 0x9000) => {
                (off_card.level, off_card.commands) = (level, 0);
                Ok(off_card)
            }
            (_, status) => Err(status),
        }
    }
}

impl OffCard {
    /// A channel whose next command has this chaining value.
    pub fn new(
        [enc, mac, rmac, dek]: [AesKey; 4],
        level: u8,
        chaining: Block,
        length: usize,
        channel: u8,
    ) -> Self {
        let (empty, extended) = (Empty::Padded, true);
        Self { enc, mac, rmac, dek, chaining, commands: 0, level, length, channel, empty, extended }
    }

    /// Opens a channel to what is selected on the basic channel.
    pub fn open(terminal: &mut Terminal, set: &Set, level: u8) -> Result<Self, u16> {
        initialize_update(terminal, set, 0)?.authenticate(terminal, level)
    }

    /// Opens a channel to the issuer's security domain with the well-known keys.
    pub fn issuer(terminal: &mut Terminal) -> Self {
        assert_eq!(select(terminal, &ISSUER), 0x9000);
        Self::open(terminal, &Set::well_known(), 0x33).unwrap()
    }

    /// Opens a channel to the issuer's security domain with another set.
    pub fn issuer_with(terminal: &mut Terminal, set: &Set) -> Result<Self, u16> {
        assert_eq!(select(terminal, &ISSUER), 0x9000);
        Self::open(terminal, set, 0x33)
    }

    /// A command's bytes as they are sent.
    pub fn wrap(&mut self, [cla, ins, p1, p2]: [u8; 4], data: &[u8]) -> Vec<u8> {
        self.commands += 1;
        let mut data = data.to_vec();
        if self.level & 0x02 != 0 && (self.empty == Empty::Padded || !data.is_empty()) {
            pad(&mut data);
        }
        self.wrap_blocks([cla, ins, p1, p2], data)
    }

    /// The bytes of a command whose data need no padding or lack it.
    pub fn wrap_unpadded(&mut self, header: [u8; 4], blocks: &[u8]) -> Vec<u8> {
        self.commands += 1;
        self.wrap_blocks(header, blocks.to_vec())
    }

    fn wrap_blocks(&mut self, [cla, ins, p1, p2]: [u8; 4], mut data: Vec<u8>) -> Vec<u8> {
        if self.level & 0x02 != 0 {
            self.enc.encrypt(&self.counter(0), &mut data).unwrap();
        }
        if self.level & 0x01 == 0 {
            return bytes([cla | self.channel, ins, p1, p2], &data, self.extended);
        }
        let length = data.len() + self.length;
        let lc = if self.extended || length > 255 {
            vec![0, (length >> 8) as u8, length as u8]
        } else {
            vec![length as u8]
        };
        self.chaining = self.mac.cmac(&[&self.chaining, &[cla | 4, ins, p1, p2], &lc, &data]);
        data.extend(&self.chaining[..self.length]);
        bytes([cla | 4 | self.channel, ins, p1, p2], &data, self.extended)
    }

    /// Sends a command through the channel; the response in plain, its MAC verified.
    pub fn send(&mut self, terminal: &mut Terminal, header: [u8; 4], data: &[u8]) -> (Vec<u8>, u16) {
        let command = self.wrap(header, data);
        let answer = terminal.transmit(&command);
        self.unwrap(&ResponseApdu::parse(&answer).unwrap())
    }

    /// Verifies and decrypts a response.
    pub fn unwrap(&self, response: &ResponseApdu) -> (Vec<u8>, u16) {
        let status = response.status.0;
        if self.level & 0x10 == 0 || !matches!(status >> 8, 0x62 | 0x63 | 0x90) {
            assert!(self.level & 0x10 == 0 || response.data.is_empty());
            return (response.data.clone(), status);
        }
        let (data, mac) = response.data.split_at(response.data.len() - self.length);
        let expected = self.rmac.cmac(&[&self.chaining, data, &status.to_be_bytes()]);
        assert_eq!(mac, &expected[..self.length]);
        let mut data = data.to_vec();
        if self.level & 0x20 != 0 && !data.is_empty() {
            self.enc.decrypt(&self.counter(0x80), &mut data).unwrap();
            data.truncate(data.iter().rposition(|&byte| byte == 0x80).unwrap());
        }
        (data, status)
    }

    /// A command that must succeed.
    pub fn ok(&mut self, terminal: &mut Terminal, header: [u8; 4], data: &[u8]) -> Vec<u8> {
        let (data, status) = self.send(terminal, header, data);
        assert_eq!(status, 0x9000, "{status:04X} from {header:02X?}");
        data
    }

    /// A command's status word.
    pub fn status(&mut self, terminal: &mut Terminal, header: [u8; 4], data: &[u8]) -> u16 {
        self.send(terminal, header, data).1
    }

    fn counter(&self, direction: u8) -> Block {
        let mut block = [0; 16];
        (block[0], block[15]) = (direction, self.commands);
        self.enc.encrypt_block(block)
    }
}

fn pad(data: &mut Vec<u8>) {
    data.push(0x80);
    data.resize(data.len().next_multiple_of(16), 0);
}

fn bytes([cla, ins, p1, p2]: [u8; 4], data: &[u8], extended: bool) -> Vec<u8> {
    let le = if extended { 65_536 } else { 256 };
    CommandApdu { cla, ins, p1, p2, data, le: Some(le), extended }.to_bytes()
}

/// The data field of PUT KEY for a set, encrypted under the channel's key, and what it must answer.
pub fn put_key(off_card: &OffCard, set: &Set) -> (Vec<u8>, Vec<u8>) {
    let (mut data, mut answer) = (vec![set.kvn], vec![set.kvn]);
    for key in &set.keys {
        let mut encrypted = key.clone();
        encrypted.resize(key.len().next_multiple_of(16), 0);
        off_card.dek.encrypt(&[0; 16], &mut encrypted).unwrap();
        let check = AesKey::new(key).unwrap().encrypt_block([1; 16]);
        data.extend([0x88, encrypted.len() as u8 + 1, key.len() as u8]);
        data.extend(encrypted);
        data.push(3);
        data.extend(&check[..3]);
        answer.extend(&check[..3]);
    }
    (data, answer)
}
