//! The authorities of the tests: certificates of cards and terminals, and revocation lists (RFC 5280, 5).
#![allow(dead_code, reason = "each of the programs that share it uses its own part")]

use std::sync::LazyLock;

use cardhost_guest::crypto::{PrivateKey, VerifyingKey};
use cardhost_wire::{
    control::{Answer, Command, Failure},
    pairing::{PairingCommand, Pairings},
    tlv::{self, TlvReader, object},
};

use crate::{
    certificate::{ECDSA_WITH_SHA_256, Use, key, name, named, signed},
    harness::{Host, Terminal, hex},
};

/// Seed of the key of the terminals' authority.
pub const AUTHORITY: u8 = 1;
/// Seed of the key of the cards' authority.
pub const CARDS: u8 = 50;
const ISSUER: &str = "pairing authority";
const CARD: &str = "02020202020202020202020202020202";
const CARD_SERIAL: [u8; 2] = [0x01, 0x02];
const NOW: &str = "170D3236303130313030303030305A";

/// An authority's own certificate.
pub fn own(seed: u8) -> Vec<u8> {
    let name = name(ISSUER);
    named(&[1], [&name, &name], &key(seed), Use::Authority, &key(seed))
}

/// A certificate by the terminals' authority.
pub fn certify(serial: &[u8], subject: &str, for_key: &PrivateKey, used: Use) -> Vec<u8> {
    named(serial, [&name(ISSUER), &name(subject)], for_key, used, &key(AUTHORITY))
}

/// A certificate over the point that a card asked it for, by the authority with this key.
pub fn certify_card(request: &[u8], seed: u8) -> Vec<u8> {
    let template = key(9);
    let names = [&name(ISSUER)[..], &name(CARD)];
    let other = named(&CARD_SERIAL, names, &template, Use::Agreement, &key(seed));
    let content = tlv::only(&other, 0x30).unwrap();
    let content = TlvReader::new(content).next_object().unwrap().unwrap().1.to_vec();
    let at = find(&content, template.public_key().as_bytes());
    let point = requested_point(request);
    signed(&[&content[..at], &point, &content[at + point.len()..]].concat(), &key(seed))
}

fn find(content: &[u8], wanted: &[u8]) -> usize {
    content.windows(wanted.len()).position(|window| window == wanted).unwrap()
}

/// The point that a certification request (RFC 2986) is for.
pub fn requested_point(request: &[u8]) -> Vec<u8> {
    let on_p256 = hex("301306072A8648CE3D020106082A8648CE3D030107034200");
    let at = find(request, &on_p256) + on_p256.len();
    request[at..at + 65].to_vec()
}

/// True if this key has signed the certificate or request.
pub fn is_signed(signed: &[u8], by: &[u8]) -> bool {
    let whole = tlv::only(signed, 0x30).unwrap();
    let mut reader = TlvReader::new(whole);
    reader.next_object().unwrap();
    let content = &whole[..whole.len() - reader.remaining().len()];
    let (_algorithm, signature) = (reader.next_object().unwrap(), reader.next_object().unwrap().unwrap().1);
    VerifyingKey::from_point(by).unwrap().verifies(content, &signature[1..])
}

/// One command of the host about pairing.
pub fn command(terminal: &mut Terminal, command: PairingCommand) -> Result<Answer, Failure> {
    terminal.command(Command::Pairing(command))
}

/// Asks for the card's certificate.
pub fn request(terminal: &mut Terminal) -> Vec<u8> {
    match command(terminal, PairingCommand::Request(name(CARD))) {
        Ok(Answer::CertificationRequest(request)) => request,
        other => panic!("{other:?}"),
    }
}

/// The command that hands a card this certificate, by the authorities with these keys.
pub fn certification(certificate: Vec<u8>, cards: u8, terminals: u8) -> PairingCommand {
    PairingCommand::Certify { certificate, card_authority: own(cards), terminal_authority: own(terminals) }
}

/// Hands the card its certificate, and the terminals' authority with this key.
pub fn hand_over(terminal: &mut Terminal, request: &[u8], terminals: u8) -> Result<Answer, Failure> {
    command(terminal, certification(certify_card(request, CARDS), CARDS, terminals))
}

static CERTIFIED: LazyLock<Host> = LazyLock::new(|| {
    let mut terminal = Terminal::new();
    let request = request(&mut terminal);
    assert!(matches!(hand_over(&mut terminal, &request, AUTHORITY), Ok(Answer::Done)));
    terminal.host().clone()
});

/// A card with the well-known secrets that its authority has certified.
pub fn certified() -> Terminal {
    Terminal::start(CERTIFIED.clone(), false)
}

/// What the card tells of its pairings.
pub fn read(terminal: &mut Terminal) -> Pairings {
    match command(terminal, PairingCommand::Read) {
        Ok(Answer::Pairings(pairings)) => pairings,
        other => panic!("{other:?}"),
    }
}

/// A revocation list to be signed.
pub struct List {
    /// The content of the CRL number's INTEGER.
    pub number: Option<Vec<u8>>,
    /// Serial numbers.
    pub serials: Vec<Vec<u8>>,
    /// Seed of the key that signs.
    pub by: u8,
    /// Who says to have issued it.
    pub issuer: &'static str,
    /// More extensions, DER, of the list and of each entry.
    pub extensions: [&'static str; 2],
}

impl List {
    /// A list of the authority's.
    pub fn new(number: u8, serials: &[&[u8]]) -> Self {
        let serials = serials.iter().map(|serial| serial.to_vec()).collect();
        let (by, issuer) = (AUTHORITY, ISSUER);
        Self { number: Some(vec![number]), serials, by, issuer, extensions: ["", ""] }
    }

    /// The list, DER.
    pub fn signed(&self) -> Vec<u8> {
        let content =
            [hex("020101"), hex(ECDSA_WITH_SHA_256), name(self.issuer), hex(NOW), hex(NOW), self.entries()];
        signed(&[content.concat(), self.extensions()].concat(), &key(self.by))
    }

    fn entries(&self) -> Vec<u8> {
        let extensions = match self.extensions[1] {
            "" => vec![],
            extensions => object(0x30, &hex(extensions)),
        };
        let entry =
            |serial: &Vec<u8>| object(0x30, &[object(0x02, serial), hex(NOW), extensions.clone()].concat());
        // RFC 5280, 5.1.2.6: without certificates the list is absent.
        if self.serials.is_empty() {
            return vec![];
        }
        object(0x30, &self.serials.iter().flat_map(entry).collect::<Vec<u8>>())
    }

    fn extensions(&self) -> Vec<u8> {
        let number = self.number.iter().flat_map(|number| {
            let value = object(0x04, &object(0x02, number));
            object(0x30, &[hex("0603551D14"), value].concat())
        });
        let extensions: Vec<u8> = number.chain(hex(self.extensions[0])).collect();
        if extensions.is_empty() { vec![] } else { object(0xA0, &object(0x30, &extensions)) }
    }

    /// Delivers it to the card.
    pub fn deliver(&self, terminal: &mut Terminal) -> Result<Answer, Failure> {
        command(terminal, PairingCommand::Revoke(self.signed()))
    }
}
