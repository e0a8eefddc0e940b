//! A terminal that looks at what is left of its card, through REST and its channel.

use std::{collections::BTreeMap, time::Duration};

use cardhost_tests::{client::Client, piv, soon};
use cardhost_wire::{key::KeyReference, tlv};
use ring::{
    digest::{SHA256, digest},
    signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey},
};
use serde_json::Value;

use super::{
    model::{Act, Certificate, KEYS, Learnt, OBJECTS, PINS, State},
    worker::{Worker, text},
};

impl Worker {
    /// What was acknowledged is there, what was not is there whole or not at all, and everything works.
    pub async fn look(&mut self, administrator: &Client) {
        self.is_ready = false;
        let seen = self.see(administrator).await;
        let in_doubt = self.in_doubt.take();
        self.state.assert_passed(in_doubt.as_ref(), &seen);
        let pins = self.state.pins(in_doubt.as_ref(), self.pin, &seen);
        self.state = seen;
        if self.state.is_absent() {
            self.pin = PINS[0];
            return;
        }
        if self.state.pin_tries > 0 {
            self.find_pin(&pins).await;
        } else {
            self.pin = pins[0];
        }
        self.certificates_authenticate().await;
        self.keys_sign().await;
    }

    async fn see(&mut self, administrator: &Client) -> State {
        let path = format!("/v1/cards/{}", self.terminal.name);
        let card = administrator.get(&path).await.expect("the card's status");
        let list = self.terminal.certificates().await;
        let certificates: BTreeMap<_, _> = list.iter().map(entry).collect();
        if card["state"] == "absent" {
            return State { certificates, ..State::default() };
        }
        self.revive().await;
        State {
            certificates,
            keys: self.keys().await,
            objects: self.objects().await,
            pin_tries: self.tries(piv::PIN_REFERENCE).await,
            puk_tries: self.tries(piv::PUK_REFERENCE).await,
        }
    }

    /// The card comes back by itself. Nothing tells when the daemon has noticed a death: it is asked until it answers.
    async fn revive(&mut self) {
        let mut pause = tokio::time::interval(Duration::from_millis(20));
        let revived = async {
            while !self.make_ready().await {
                pause.tick().await;
            }
        };
        soon("the card comes back", revived).await;
    }

    async fn keys(&mut self) -> BTreeMap<u8, Vec<u8>> {
        let mut keys = BTreeMap::new();
        for key in KEYS {
            if let Some(metadata) = self.find(&piv::metadata(key), 0x6A88).await {
                let public = tlv::find(&metadata, 0x04).expect("metadata").expect("a public key");
                keys.insert(key, tlv::only(public, 0x86).expect("a point").to_vec());
            }
        }
        keys
    }

    async fn objects(&mut self) -> BTreeMap<u32, Vec<u8>> {
        let mut objects = BTreeMap::new();
        for object in OBJECTS {
            if let Some(content) = self.find(&piv::read(object), 0x6A82).await {
                objects.insert(object, tlv::only(&content, 0x53).expect("an object").to_vec());
            }
        }
        objects
    }

    async fn tries(&mut self, reference: u8) -> u8 {
        let metadata = self.find(&piv::metadata(reference), 0x6A88).await.expect("a PIN and a PUK");
        tlv::find(&metadata, 0x06).expect("metadata").expect("tries")[1]
    }

    /// The data of what is there, `None` if the card answers that it is not.
    async fn find(&mut self, command: &[u8], absent: u16) -> Option<Vec<u8>> {
        match self.exchange(command).await {
            Some((data, 0x9000)) => Some(data),
            Some((_, status)) if status == absent => None,
            other => panic!("{}: {other:?} of {}", self.terminal.name, hex::encode(command)),
        }
    }

    async fn find_pin(&mut self, pins: &[&'static str]) {
        for pin in pins {
            if let Some((_, 0x9000)) = self.exchange(&piv::verify(pin)).await {
                self.pin = pin;
                self.state = self.state.after(&Act::RightPin, &Learnt::Nothing);
                return;
            }
        }
        panic!("{}: none of the PINs {pins:?} holds", self.terminal.name);
    }

    async fn certificates_authenticate(&self) {
        let pin = (self.state.pin_tries > 0).then_some(self.pin);
        for certificate in self.terminal.certificates().await {
            if pin.is_some() || certificate["key_reference"] == "9E" {
                let answer = self.terminal.authenticate(&certificate, pin).await;
                assert_eq!(answer.expect("an answer")["result"], "success", "{}", self.terminal.name);
            }
        }
    }

    async fn keys_sign(&mut self) {
        let message = self.chance.bytes(40);
        let hash = digest(&SHA256, &message).as_ref().try_into().expect("32 bytes");
        for (key, public) in self.state.keys.clone() {
            let answer = self.channel.expect(&piv::sign(KeyReference(key), &hash), 0x9000).await;
            let signature = tlv::only(&answer, 0x7C).and_then(|template| tlv::only(template, 0x82));
            let verified = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public)
                .verify(&message, signature.expect("a signature"));
            verified.unwrap_or_else(|_| panic!("{}: key {key:02X} is another", self.terminal.name));
        }
    }
}

fn entry(entry: &Value) -> (String, Certificate) {
    let certificate = Certificate { id: text(entry, "id"), serial: text(entry, "serial") };
    (text(entry, "key_reference"), certificate)
}
