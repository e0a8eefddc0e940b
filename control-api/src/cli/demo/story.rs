//! The story: an operator prepares a terminal, and the terminal lives a card's whole life.

use anyhow::{Context as _, ensure};
use cardhost_wire::key::KeyReference;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use super::{channel::Channel, piv, step};
use crate::{
    audit::{Receipt, verify_receipt},
    auth::token::Token,
    cli::client::{Client, Credentials, DeviceIdentity, tls},
    host::{AdministratorFile, Host},
};

/// The terminal of the story, and its paths.
const TERMINAL: &str = "till-1";
const CERTIFICATES: &str = "/v1/terminals/till-1/certificates";
const CARD: &str = "/v1/cards/till-1";
/// What the terminal signs.
const MESSAGE: &[u8] = b"one coffee, 3.20";

/// Tells it.
pub(super) async fn tell(host: &Host, file: &AdministratorFile) -> anyhow::Result<()> {
    let operator = Credentials {
        url: host.url().into(),
        user: file.user.clone(),
        password: Zeroizing::new(file.password.clone()),
        ca_pem: file.ca_pem.clone(),
    };
    let operator_client = step("the operator logs in", Client::log_in(&operator, None)).await?;
    let user = Credentials {
        user: "alice".into(),
        password: Zeroizing::new(Token::generate().as_str().into()),
        ..operator
    };
    step("the operator makes a user and assigns it a terminal", prepare(&operator_client, &user)).await?;
    let terminal = step("the terminal logs in and enrols its device key", Terminal::enrol(&user)).await?;
    live(host, &operator_client, terminal).await
}

async fn live(host: &Host, operator: &Client, mut terminal: Terminal) -> anyhow::Result<()> {
    step("its mutually authenticated channel says: no card", terminal.channel.expect("absent")).await?;
    let first = step("first certificate: the card is made", terminal.first_certificate()).await?;
    step("the channel says: a card is present", terminal.channel.expect("present")).await?;
    step("the card authenticates to the authority", terminal.authenticate(&first)).await?;
    step("the card signs an APDU's digest, the signature verifies", terminal.sign(&first)).await?;
    let second = step("second certificate, on the same card", terminal.second_certificate()).await?;
    step("the first one is deleted, the card stays", terminal.delete(&first.id, false)).await?;
    let gone = terminal.delete(&second, true);
    let receipt = step("the second one is deleted, the card is destroyed", gone).await?;
    step("the channel says: no card", terminal.channel.expect("absent")).await?;
    step("the operator sees no card", absent(operator)).await?;
    let receipt = receipt.context("a destroyed card leaves a receipt")?;
    step("the receipt's signature verifies", verified(operator, host, &receipt)).await?;
    step("the terminal logs out", terminal.leave()).await
}

async fn prepare(operator: &Client, user: &Credentials) -> anyhow::Result<()> {
    let setting = json!({ "password": *user.password, "role": "user" });
    operator.put(&format!("/v1/users/{}", user.user), &setting).await?;
    operator.put(&format!("/v1/terminals/{TERMINAL}"), &json!({ "owner": user.user })).await?;
    Ok(())
}

async fn absent(operator: &Client) -> anyhow::Result<()> {
    let card = operator.get(CARD).await?;
    ensure!(card["state"] == "absent", "the card is still there: {card}");
    Ok(())
}

/// Verifies with the key in the data directory, as an operator does offline, not with the one in the receipt.
async fn verified(operator: &Client, host: &Host, id: &str) -> anyhow::Result<()> {
    let receipt = operator.get(&format!("/v1/receipts/{id}")).await?;
    let receipt: Receipt = serde_json::from_value(receipt)?;
    let key = hex::decode(std::fs::read_to_string(host.directory().public_key())?)?;
    let destruction = verify_receipt(&receipt, &key)?;
    ensure!(destruction.terminal.as_str() == TERMINAL, "the receipt is of another terminal");
    Ok(())
}

/// The first certificate, and the secrets that came with it.
struct FirstCertificate {
    id: String,
    pem: String,
    pin: Zeroizing<String>,
}

/// The terminal, logged in with its device's certificate.
struct Terminal {
    client: Client,
    channel: Channel,
}

impl Terminal {
    /// Logs in without a certificate, gets one for a fresh key, logs in with it and opens the channel.
    async fn enrol(user: &Credentials) -> anyhow::Result<Self> {
        let plain = Client::log_in(user, None).await?;
        let key = rcgen::KeyPair::generate()?;
        let request = rcgen::CertificateParams::default().serialize_request(&key)?.pem()?;
        let path = format!("/v1/terminals/{TERMINAL}/devices");
        let device = plain.post(&path, &json!({ "csr": request })).await?;
        plain.log_out().await?;
        let identity = || -> anyhow::Result<DeviceIdentity> {
            let certificate = CertificateDer::from_pem_slice(text(&device, "pem")?.as_bytes())?;
            Ok(DeviceIdentity { certificate, key: PrivatePkcs8KeyDer::from(key.serialize_der()).into() })
        };
        let client = Client::log_in(user, Some(identity()?)).await?;
        let tls = tls(&user.ca_pem, Some(identity()?))?;
        let channel = Channel::open(&user.url, TERMINAL, client.token(), tls).await?;
        Ok(Self { client, channel })
    }

    async fn first_certificate(&self) -> anyhow::Result<FirstCertificate> {
        let answer = self.certificate(KeyReference::AUTHENTICATION).await?;
        ensure!(answer["card_created"] == true, "the first certificate makes the card");
        Ok(FirstCertificate {
            id: text(&answer, "id")?,
            pem: text(&answer, "pem")?,
            pin: Zeroizing::new(text(&answer["secrets"], "pin")?),
        })
    }

    async fn second_certificate(&self) -> anyhow::Result<String> {
        let answer = self.certificate(KeyReference::SIGNATURE).await?;
        ensure!(answer["card_created"] == false, "the second certificate finds the card");
        text(&answer, "id")
    }

    async fn certificate(&self, key: KeyReference) -> anyhow::Result<Value> {
        let request = json!({ "key_reference": key.to_string(), "algorithm": "P-256" });
        Ok(self.client.post(CERTIFICATES, &request).await?)
    }

    async fn authenticate(&self, certificate: &FirstCertificate) -> anyhow::Result<()> {
        let request = json!({ "certificate": certificate.id, "pin": *certificate.pin });
        let answer = self.client.post(&format!("/v1/terminals/{TERMINAL}/authentications"), &request).await?;
        ensure!(answer["result"] == "success", "the authority said {answer}");
        Ok(())
    }

    async fn sign(&mut self, certificate: &FirstCertificate) -> anyhow::Result<()> {
        let key = KeyReference::AUTHENTICATION;
        let signature = piv::sign(&mut self.channel, key, &certificate.pin, MESSAGE).await?;
        let der = CertificateDer::from_pem_slice(certificate.pem.as_bytes())?;
        let (_, certificate) = X509Certificate::from_der(&der)?;
        let public_key = &certificate.public_key().subject_public_key.data;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public_key)
            .verify(MESSAGE, &signature)
            .map_err(|_| anyhow::anyhow!("the signature is not by the certificate's key"))
    }

    async fn delete(&self, certificate: &str, last: bool) -> anyhow::Result<Option<String>> {
        let answer = self.client.delete(&format!("{CERTIFICATES}/{certificate}")).await?;
        ensure!(answer["revoked"] == true, "the authority did not revoke: {answer}");
        ensure!(answer["card_destroyed"] == last, "the card goes with its last certificate: {answer}");
        Ok(answer["receipt"].as_str().map(String::from))
    }

    async fn leave(self) -> anyhow::Result<()> {
        self.channel.close().await?;
        Ok(self.client.log_out().await?)
    }
}

fn text(object: &Value, member: &str) -> anyhow::Result<String> {
    object[member].as_str().map(String::from).with_context(|| format!("the daemon's answer has no {member}"))
}
