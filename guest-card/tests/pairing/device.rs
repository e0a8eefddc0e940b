//! The terminal's side, written from `docs/pairing.md` beside the card's own code.
#![allow(dead_code, reason = "each of the programs that share it uses its own part")]

use std::{cell::RefCell, rc::Rc, sync::LazyLock};

use cardhost_guest::crypto::{AesKey, PrivateKey};
use cardhost_wire::{
    apdu::ResponseApdu,
    pairing::PAIRING_DOMAIN,
    port::{Port, Protocol},
    tlv::{self, TlvReader, object},
};
use sha2::{Digest, Sha256};

use crate::{
    authority::{CARDS, certify, is_signed, requested_point},
    certificate::{Use, key},
    harness::{PIN, Terminal, hex},
    off_card::{self, OffCard, Set, put_key, send},
};

const ENVELOPE: [u8; 4] = [0x80, 0xC2, 0x00, 0x00];
/// A terminal's ephemeral key.
static EPHEMERAL: LazyLock<PrivateKey> = LazyLock::new(|| key(40));

/// A terminal that its authority certified.
pub struct Device {
    key: PrivateKey,
    /// Its certificate.
    pub certificate: Vec<u8>,
    /// Seed of the key of the authority by which it knows cards.
    trusted: u8,
}

/// An open session.
pub struct Session {
    off_card: OffCard,
}

impl Device {
    /// A terminal of this name; its certificate's serial number is as long as an authority's.
    pub fn new(number: u8) -> Self {
        Self::named(&format!("terminal-{number}"), number)
    }

    /// A terminal of this name.
    pub fn named(name: &str, number: u8) -> Self {
        let key = key(100 + number);
        let certificate = certify(&serial(number), name, &key, Use::Agreement);
        Self { key, certificate, trusted: CARDS }
    }

    /// A terminal with this certificate over its key.
    pub fn with(number: u8, certificate: impl FnOnce(&PrivateKey) -> Vec<u8>) -> Self {
        let key = key(100 + number);
        Self { certificate: certificate(&key), key, trusted: CARDS }
    }

    /// The same terminal, that knows cards by the authority with this key.
    pub fn trusting(self, seed: u8) -> Self {
        Self { trusted: seed, ..self }
    }

    /// SELECT, GET DATA, PERFORM SECURITY OPERATION and MUTUAL AUTHENTICATE.
    pub fn set_up(&self, terminal: &mut Terminal) -> Result<Session, u16> {
        assert_eq!(select(terminal).1, 0x9000);
        let card = certified_point(terminal, self.trusted)?;
        match send(terminal, [0x80, 0x2A, 1, 0x10], &self.certificate) {
            (_, 0x9000) => self.agree(terminal, &card, &agreement(0x01, 0x3C, 16)),
            (_, status) => Err(status),
        }
    }

    /// MUTUAL AUTHENTICATE with this data field; the receipt is verified.
    pub fn agree(&self, terminal: &mut Terminal, card: &[u8], data: &[u8]) -> Result<Session, u16> {
        let (answer, status) = send(terminal, [0x80, 0x82, 1, 0x11], data);
        if status != 0x9000 {
            return Err(status);
        }
        let mut reader = TlvReader::new(&answer);
        let Some((0x5F49, point)) = reader.next_object().unwrap() else { panic!("no point") };
        let Some((0x86, receipt)) = reader.next_object().unwrap() else { panic!("no receipt") };
        assert!(reader.remaining().is_empty());
        let secret = [&EPHEMERAL.agree(point).unwrap()[..], &self.key.agree(card).unwrap()].concat();
        let [receipt_key, keys @ ..] = derived(&secret);
        assert_eq!(receipt_key.cmac(&[data, &object(0x5F49, point)]), receipt);
        Ok(Session { off_card: OffCard::new(keys, 0x33, receipt.try_into().unwrap(), 8, 0) })
    }

    /// Sets a pairing up with this key version number: the whole flow up to PUT KEY.
    pub fn pair(&self, terminal: &mut Terminal, kvn: u8) -> Result<Set, u16> {
        let mut session = self.set_up(terminal)?;
        session.verify(terminal, PIN);
        session.put_key(terminal, &Set::made_up(kvn, 16))
    }

    /// Sets a pairing up and opens a session with it.
    pub fn paired(&self, terminal: &mut Terminal, kvn: u8) -> Session {
        let set = self.pair(terminal, kvn).unwrap();
        authenticate(terminal, &set).unwrap()
    }
}

/// The serial number of a terminal's certificate, with a zero in front that DER wants.
pub fn serial(number: u8) -> Vec<u8> {
    [&[0x00, 0xA0 | number >> 4, number][..], &[0x55; 16]].concat()
}

/// SELECT of the pairing security domain.
pub fn select(terminal: &mut Terminal) -> (Vec<u8>, u16) {
    send(terminal, [0x00, 0xA4, 0x04, 0x00], &PAIRING_DOMAIN)
}

/// INITIALIZE UPDATE and EXTERNAL AUTHENTICATE.
pub fn authenticate(terminal: &mut Terminal, set: &Set) -> Result<Session, u16> {
    assert_eq!(select(terminal).1, 0x9000);
    let initiated = off_card::initialize_update(terminal, set, 0)?;
    assert_eq!(initiated.answer.len(), 29);
    assert_eq!(initiated.answer[10..13], [set.kvn, 0x03, 0x60]);
    Ok(Session { off_card: initiated.authenticate(terminal, 0x33)? })
}

/// The card's certificate, in a selection of the domain.
pub fn certificate(terminal: &mut Terminal) -> Result<Vec<u8>, u16> {
    match send(terminal, [0x80, 0xCA, 0xBF, 0x21], &hex("A60483021101")) {
        (answer, 0x9000) => Ok(tlv::only(&answer, 0xBF21).unwrap().to_vec()),
        (_, status) => Err(status),
    }
}

/// The key in the card's certificate, which the authority with this key must have signed.
pub fn certified_point(terminal: &mut Terminal, by: u8) -> Result<Vec<u8>, u16> {
    let certificate = certificate(terminal)?;
    assert!(is_signed(&certificate, key(by).public_key().as_bytes()));
    Ok(requested_point(&certificate))
}

/// The data field of MUTUAL AUTHENTICATE.
pub fn agreement(parameter: u8, usage: u8, length: u8) -> Vec<u8> {
    let template = [0x90, 2, 0x11, parameter, 0x95, 1, usage, 0x80, 1, 0x88, 0x81, 1, length];
    [object(0xA6, &template), object(0x5F49, EPHEMERAL.public_key().as_bytes())].concat()
}

/// Receipt key, S-ENC, S-MAC, S-RMAC and S-DEK.
fn derived(secret: &[u8]) -> [AesKey; 5] {
    let blocks = (1u32..=3)
        .flat_map(|counter| Sha256::digest([secret, &counter.to_be_bytes(), &[0x3C, 0x88, 16]].concat()));
    let bytes: Vec<u8> = blocks.collect();
    let mut keys = bytes.chunks(16).map(|key| AesKey::new(key).unwrap());
    [(); 5].map(|()| keys.next().unwrap())
}

impl Session {
    /// A command in its ENVELOPE.
    pub fn wrap(&mut self, command: &[u8]) -> Vec<u8> {
        self.off_card.wrap(ENVELOPE, command)
    }

    /// The response in an answer, or the status word outside.
    pub fn unwrap(&self, answer: &[u8]) -> Result<Vec<u8>, u16> {
        let response = ResponseApdu::parse(answer).unwrap();
        match self.off_card.unwrap(&response) {
            (response, 0x9000) => Ok(response),
            (_, status) => Err(status),
        }
    }

    /// One command through the session; the response in it, or the status word outside.
    pub fn send(&mut self, terminal: &mut Terminal, command: &[u8]) -> Result<Vec<u8>, u16> {
        let wrapped = self.wrap(command);
        self.unwrap(&terminal.transmit_in_plain(&wrapped))
    }

    /// The status word inside.
    pub fn status(&mut self, terminal: &mut Terminal, command: &[u8]) -> u16 {
        let response = self.send(terminal, command).unwrap();
        u16::from_be_bytes(*response.last_chunk().unwrap())
    }

    /// VERIFY of the PIN; its status word.
    pub fn verify(&mut self, terminal: &mut Terminal, pin: &[u8]) -> u16 {
        self.status(terminal, &[&hex("0020008008")[..], pin].concat())
    }

    /// PUT KEY of this set in a set-up.
    pub fn put_key(&mut self, terminal: &mut Terminal, set: &Set) -> Result<Set, u16> {
        let (data, expected) = put_key(&self.off_card, set);
        let answer = self.send(terminal, &put_key_command(&data)).unwrap();
        match answer.split_last_chunk().unwrap() {
            (answer, [0x90, 0x00]) if answer == expected => Ok(set.clone()),
            (_, status) => Err(u16::from_be_bytes(*status)),
        }
    }

    /// The data field of PUT KEY for this set.
    pub fn key_data(&self, set: &Set) -> Vec<u8> {
        put_key(&self.off_card, set).0
    }

    /// A message whose MAC is right and whose padding is not.
    pub fn wrap_without_padding(&mut self, command: &[u8]) -> Vec<u8> {
        self.off_card.wrap_unpadded(ENVELOPE, command)
    }

    /// Lets the terminal speak through this session from now on.
    pub fn carry(self, terminal: &mut Terminal) -> Rc<RefCell<Self>> {
        let session = Rc::new(RefCell::new(self));
        let carrier = Rc::clone(&session);
        terminal.path = Some(Box::new(move |card, protocol: Protocol, command| {
            let mut session = carrier.borrow_mut();
            let wrapped = session.wrap(command);
            let answer = card.transmit(Port::Apdu(protocol), &wrapped).unwrap();
            session.unwrap(&answer).unwrap_or_else(|status| status.to_be_bytes().to_vec())
        }));
        session
    }
}

/// PUT KEY with this data field, short.
pub fn put_key_command(data: &[u8]) -> Vec<u8> {
    [&[0x80, 0xD8, 0x00, 0x81, data.len() as u8][..], data, &[0]].concat()
}
