//! A user's terminal: its device certificate, its session and what it does with its card.

use serde_json::{Value, json};

use crate::{
    channel::Channel,
    client::{Client, Device, Refusal},
    daemon::{Daemon, PASSWORD},
};

/// PIN of cards that tests make.
pub const PIN: &str = "471108";
/// Their PUK.
pub const PUK: &str = "12345670";
/// Their management key, AES-256.
pub const MANAGEMENT_KEY: [u8; 32] = [0x5A; 32];

/// A terminal, logged in with its device's certificate.
pub struct Terminal {
    /// Its name.
    pub name: String,
    /// Its REST client.
    pub client: Client,
    /// Its identity.
    pub device: Device,
    address: String,
    ca_pem: String,
}

impl Terminal {
    /// Enrols a device of a terminal that is there, and logs its owner in.
    pub async fn enrol(daemon: &Daemon, name: &str, owner: &str) -> Self {
        let plain = daemon.anonymous(None).log_in(owner, PASSWORD).await.expect("the owner");
        let key = rcgen::KeyPair::generate().expect("a key");
        let csr = rcgen::CertificateParams::default().serialize_request(&key).and_then(|csr| csr.pem());
        let request = json!({ "csr": csr.expect("a certification request") });
        let enrolled = plain.post(&format!("/v1/terminals/{name}/devices"), request).await.expect("a device");
        let device = Device::new(enrolled["pem"].as_str().expect("a certificate"), &key);
        let client = daemon.anonymous(Some(&device)).log_in(owner, PASSWORD).await.expect("the owner");
        let (address, ca_pem) = (daemon.address(), daemon.ca_pem().to_owned());
        Self { name: name.into(), client, device, address, ca_pem }
    }

    /// The path of something of this terminal.
    pub fn path(&self, what: &str) -> String {
        format!("/v1/terminals/{}/{what}", self.name)
    }

    /// Asks for the first certificate; its card gets [`PIN`], [`PUK`] and [`MANAGEMENT_KEY`].
    pub async fn first(&self, key_reference: &str) -> Result<Value, Refusal> {
        let mut wish = wish(key_reference);
        wish["pin"] = PIN.into();
        wish["puk"] = PUK.into();
        wish["management_key"] = hex::encode(MANAGEMENT_KEY).into();
        self.client.post(&self.path("certificates"), wish).await
    }

    /// Asks for a certificate, of which nothing is chosen but the slot.
    pub async fn create(&self, key_reference: &str) -> Result<Value, Refusal> {
        self.client.post(&self.path("certificates"), wish(key_reference)).await
    }

    /// The terminal's certificates.
    pub async fn certificates(&self) -> Vec<Value> {
        let list = self.client.get(&self.path("certificates")).await.expect("a list");
        list["certificates"].as_array().expect("a list").clone()
    }

    /// Deletes a certificate.
    pub async fn delete(&self, certificate: &Value) -> Result<Value, Refusal> {
        self.client.delete(&self.path(&format!("certificates/{}", id(certificate)))).await
    }

    /// Authenticates with a certificate and, if given, a PIN.
    pub async fn authenticate(&self, certificate: &Value, pin: Option<&str>) -> Result<Value, Refusal> {
        let request = match pin {
            Some(pin) => json!({ "certificate": id(certificate), "pin": pin }),
            None => json!({ "certificate": id(certificate) }),
        };
        self.client.post(&self.path("authentications"), request).await
    }

    /// Opens the APDU gate's channel.
    pub async fn open(&self) -> Result<Channel, Refusal> {
        self.open_on("apdu-gate").await
    }

    /// Opens the channel of this protocol.
    pub async fn open_on(&self, protocol: &str) -> Result<Channel, Refusal> {
        let token = self.client.token.as_deref().expect("logged in");
        let path = self.path(&format!("channel?protocol={protocol}"));
        Channel::open(&self.address, &path, token, &self.ca_pem, &self.device).await
    }

    /// An open channel that has said `present`.
    pub async fn present(&self) -> Channel {
        let mut channel = self.open().await.expect("a channel");
        channel.until("present").await;
        channel
    }
}

/// A wish for a P-256 certificate.
pub fn wish(key_reference: &str) -> Value {
    json!({ "key_reference": key_reference, "algorithm": "P-256" })
}

/// A certificate's id.
pub fn id(certificate: &Value) -> &str {
    certificate["id"].as_str().expect("a certificate has an id")
}
