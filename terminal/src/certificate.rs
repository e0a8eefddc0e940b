//! The card's certificates.

use std::path::{Path, PathBuf};

use cardhost_wire::key::{Algorithm, KeyReference};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    host::{self, Host, HostError},
    input,
    output::Output,
    secrets::{self, SecretText, Secrets},
    state::State,
};

/// What to do with certificates.
#[derive(Subcommand)]
pub enum Certificate {
    Create(Create),
    /// List the certificates of this terminal's card.
    List,
    /// Print one certificate, PEM.
    Show {
        /// Certificate id or key reference (9A).
        #[arg(value_name = "ID|KEY")]
        certificate: String,
    },
    /// Have the authority issue the certificate anew for the same key.
    Renew {
        /// Certificate id or key reference (9A).
        #[arg(value_name = "ID|KEY")]
        certificate: String,
    },
    /// Have the authority revoke the certificate and the card erase its key. With the last one the card goes.
    Delete {
        /// Certificate id or key reference (9A).
        #[arg(value_name = "ID|KEY")]
        certificate: String,
    },
    /// Show the card's PIN, PUK and management key again, if their delivery was interrupted.
    Secrets {
        /// Write them to this new file (JSON, mode 0600) instead of showing them.
        #[arg(long, value_name = "FILE")]
        secrets_file: Option<PathBuf>,
    },
}

/// Have a key pair made in the card and certified by the authority.
///
/// The first certificate of a terminal makes its card. What of PIN, PUK and management key you do not choose, the
/// card makes: it is shown once, or written to --secrets-file, and then erased at the host.
#[derive(Args)]
pub struct Create {
    /// Slot: 9A authentication, 9C signature, 9D key management, 9E card authentication (no PIN), 82 to 95 retired.
    #[arg(long, value_name = "KEY", default_value = "9A")]
    key: KeyReference,
    /// RSA-2048, RSA-3072, P-256 or P-384.
    #[arg(long, default_value = "P-256")]
    algorithm: Algorithm,
    /// The subject's distinguished name (RFC 4514), for example CN=Alice,O=Example; by default the host's choice.
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// Read the PIN for a new card from this file: 6 to 8 digits.
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
    /// Read the PUK for a new card from this file: 8 digits.
    #[arg(long, value_name = "FILE")]
    puk_file: Option<PathBuf>,
    /// Read the management key for a new card from this file: AES, hexadecimal.
    #[arg(long, value_name = "FILE")]
    management_key_file: Option<PathBuf>,
    /// Write the secrets that the card made to this file (JSON, mode 0600) instead of showing them.
    #[arg(long, value_name = "FILE")]
    secrets_file: Option<PathBuf>,
}

#[derive(Serialize)]
struct Request {
    key_reference: String,
    algorithm: Algorithm,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pin: Option<SecretText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    puk: Option<SecretText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    management_key: Option<SecretText>,
}

#[derive(Deserialize)]
struct Created {
    #[serde(flatten)]
    certificate: Entry,
    #[serde(default)]
    card_created: bool,
    #[serde(default)]
    secrets: Option<Secrets>,
}

/// One certificate, as the host lists it.
#[derive(Serialize, Deserialize)]
struct Entry {
    id: String,
    key_reference: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pem: Option<String>,
    /// What else the host says of it.
    #[serde(flatten)]
    more: serde_json::Map<String, serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct List {
    certificates: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Deleted {
    #[serde(default)]
    revoked: bool,
    #[serde(default)]
    card_destroyed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    receipt: Option<serde_json::Value>,
}

impl Certificate {
    /// Does it.
    pub async fn run(self, state: &State, output: &Output) -> Result<(), Error> {
        let (host, config) = Host::of(state)?;
        let terminal = &config.terminal;
        match self {
            Self::Create(create) => create.run(&host, terminal, output).await,
            Self::List => list(&host, terminal, output).await,
            Self::Show { certificate } => show(&host, terminal, &certificate, output).await,
            Self::Renew { certificate } => renew(&host, terminal, &certificate, output).await,
            Self::Delete { certificate } => delete(&host, terminal, &certificate, output).await,
            Self::Secrets { secrets_file } => {
                let pending: Secrets = host.read(&secrets::path(terminal)).await?;
                pending.deliver(&host, terminal, secrets_file.as_deref(), output).await
            }
        }
    }
}

impl Create {
    async fn run(self, host: &Host, terminal: &str, output: &Output) -> Result<(), Error> {
        let created: Created = host.create(&certificates(terminal), &self.request()?).await?;
        let card = if created.card_created { " in a new card" } else { "" };
        let Entry { id, key_reference, .. } = &created.certificate;
        output.show(&created_json(&created), || format!("certificate {id} for key {key_reference}{card}"));
        let made = match created.secrets {
            None if created.card_created => pending(host, terminal).await?,
            made => made,
        };
        match made {
            Some(made) => made.deliver(host, terminal, self.secrets_file.as_deref(), output).await,
            None => Ok(()),
        }
    }

    fn request(&self) -> Result<Request, Error> {
        Ok(Request {
            key_reference: self.key.to_string(),
            algorithm: self.algorithm,
            subject: self.subject.clone(),
            pin: chosen("PIN", self.pin_file.as_deref())?,
            puk: chosen("PUK", self.puk_file.as_deref())?,
            management_key: chosen("Management key", self.management_key_file.as_deref())?,
        })
    }
}

/// The secrets of a new card whose first answer got lost: the repeated one leaves them out.
async fn pending(host: &Host, terminal: &str) -> Result<Option<Secrets>, Error> {
    match host.read(&secrets::path(terminal)).await {
        Ok(made) => Ok(Some(made)),
        Err(HostError::Refused(problem)) if problem.is("not-found") => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The id of the certificate that a user names by id or by key reference.
pub async fn find(host: &Host, terminal: &str, name: &str) -> Result<String, Error> {
    let Ok(key) = name.parse::<KeyReference>() else { return Ok(name.into()) };
    let list: List = host.read(&certificates(terminal)).await?;
    let found = list.certificates.into_iter().find(|entry| entry.key_reference == key.to_string());
    found.map(|entry| entry.id).ok_or_else(|| Error::NoSuchCertificate(name.into()))
}

async fn list(host: &Host, terminal: &str, output: &Output) -> Result<(), Error> {
    let list: List = host.read(&certificates(terminal)).await?;
    output.show(&list, || match list.certificates.as_slice() {
        [] => "no certificates, and so no card".into(),
        entries => entries.iter().map(line).collect::<Vec<_>>().join("\n"),
    });
    Ok(())
}

async fn show(host: &Host, terminal: &str, name: &str, output: &Output) -> Result<(), Error> {
    let id = find(host, terminal, name).await?;
    let entry: Entry = host.read(&one(terminal, &id)).await?;
    output.show(&entry, || entry.pem.clone().unwrap_or_default().trim_end().into());
    Ok(())
}

async fn renew(host: &Host, terminal: &str, name: &str, output: &Output) -> Result<(), Error> {
    let id = find(host, terminal, name).await?;
    let path = ["v1", "terminals", terminal, "certificates", &id, "renewal"];
    let entry: Entry = host.create(&path, &serde_json::json!({})).await?;
    output.show(&entry, || format!("renewed: {}", line(&entry)));
    Ok(())
}

async fn delete(host: &Host, terminal: &str, name: &str, output: &Output) -> Result<(), Error> {
    let id = find(host, terminal, name).await?;
    let deleted: Deleted = host::parse(&host.delete(&one(terminal, &id)).await?)?;
    output.show(&deleted, || {
        let card = if deleted.card_destroyed { "; it was the last one, the card is destroyed" } else { "" };
        format!("certificate {id} revoked and its key erased{card}")
    });
    Ok(())
}

fn created_json(created: &Created) -> serde_json::Value {
    serde_json::json!({
        "id": created.certificate.id,
        "key_reference": created.certificate.key_reference,
        "pem": created.certificate.pem,
        "card_created": created.card_created,
    })
}

fn line(entry: &Entry) -> String {
    let expiry = entry.more.get("expires_at").and_then(|value| value.as_str());
    let expiry = expiry.map(|expiry| format!("  until {expiry}")).unwrap_or_default();
    format!("{}  {}{expiry}", entry.key_reference, entry.id)
}

fn chosen(what: &str, file: Option<&Path>) -> Result<Option<SecretText>, Error> {
    Ok(file.map(|file| input::secret(what, Some(file))).transpose()?.map(SecretText::from))
}

fn certificates(terminal: &str) -> [&str; 4] {
    ["v1", "terminals", terminal, "certificates"]
}

fn one<'a>(terminal: &'a str, id: &'a str) -> [&'a str; 5] {
    ["v1", "terminals", terminal, "certificates", id]
}
