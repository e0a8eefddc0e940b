//! What callers are told of certificates.

use cardhost_wire::key::Secret;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    http::secret::SecretText,
    lifecycle::{self, Certificate, Created, Deleted},
};

/// A terminal's certificates.
#[derive(Serialize, ToSchema)]
pub(super) struct CertificateList {
    pub certificates: Vec<CertificateEntry>,
}

/// A certificate.
#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct CertificateEntry {
    /// Its id; it stays through renewals.
    pub id: String,
    /// The PIV slot of its key.
    pub key_reference: String,
    /// RSA-2048, RSA-3072, P-256 or P-384.
    pub algorithm: String,
    /// The serial number, hex.
    pub serial: String,
    /// PEM.
    pub pem: String,
    /// The subject's distinguished name.
    pub subject: String,
    /// End of its validity. An expired certificate can be renewed; its key stays.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// A new certificate.
#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct CreatedCertificate {
    /// Its id; it stays through renewals.
    pub id: String,
    /// The PIV slot of its key.
    pub key_reference: String,
    /// PEM.
    pub pem: String,
    /// True if it made the terminal's card.
    pub card_created: bool,
    /// What the card made because the caller did not choose it.
    #[serde(skip_serializing_if = "Option::is_none", skip_deserializing)]
    pub secrets: Option<Secrets>,
}

/// A card's first secrets; what the caller chose is absent.
#[derive(Serialize, ToSchema)]
pub(super) struct Secrets {
    /// Digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub pin: Option<SecretText>,
    /// Digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub puk: Option<SecretText>,
    /// AES-256, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub management_key: Option<SecretText>,
    /// The issuer security domain's first SCP03 key set, version FF: ENC, MAC and DEK, AES-128, hex, one after the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub security_domain_keys: Option<SecretText>,
    /// The same of the second secure element, once a protocol was paired with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub second_security_domain_keys: Option<SecretText>,
}

/// A deleted certificate.
#[derive(Serialize, ToSchema)]
pub(super) struct DeletedCertificate {
    /// True if the authority revoked it.
    pub revoked: bool,
    /// True if it was the card's last credential: the microVM and its keys are gone.
    pub card_destroyed: bool,
    /// The receipt's id, see `/v1/receipts/{receipt}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
}

impl From<Certificate> for CertificateEntry {
    fn from(certificate: Certificate) -> Self {
        Self {
            id: certificate.id.to_string(),
            key_reference: certificate.key_reference.to_string(),
            algorithm: certificate.algorithm.to_string(),
            serial: certificate.serial,
            pem: certificate.pem,
            subject: certificate.subject,
            expires_at: Timestamp::from_second(certificate.not_after).unwrap_or(Timestamp::MAX),
        }
    }
}

impl From<Created> for CreatedCertificate {
    fn from(created: Created) -> Self {
        Self {
            id: created.id.to_string(),
            key_reference: created.key_reference.to_string(),
            pem: created.pem,
            card_created: created.card_created,
            secrets: None,
        }
    }
}

impl From<Deleted> for DeletedCertificate {
    fn from(deleted: Deleted) -> Self {
        let receipt = deleted.receipt.map(|receipt| receipt.id.to_string());
        Self { revoked: deleted.revoked, card_destroyed: deleted.card_destroyed, receipt }
    }
}

impl From<lifecycle::Secrets> for Secrets {
    fn from(secrets: lifecycle::Secrets) -> Self {
        let text = |secret: Secret| SecretText::from(String::from_utf8_lossy(&secret.0).into_owned());
        let key = |key: Secret| SecretText::from(hex::encode(&key.0));
        Self {
            pin: secrets.pin.map(text),
            puk: secrets.puk.map(text),
            management_key: secrets.management_key.map(key),
            security_domain_keys: secrets.security_domain_keys.map(key),
            second_security_domain_keys: secrets.second_security_domain_keys.map(key),
        }
    }
}
