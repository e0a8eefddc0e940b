//! What is shown of certificates and of what the authority still has to revoke.

use cardhost_wire::key::{Algorithm, KeyReference};
use uuid::Uuid;
use x509_parser::parse_x509_certificate;

use super::{LifeCycle, LifeCycleError, create::pem};
use crate::{
    auth::name::Name,
    store::{
        certificates::{self, CertificateRecord},
        revocations::{self, Subject},
    },
};

/// A certificate of a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its identifier; it stays through renewals.
    pub id: Uuid,
    /// Its slot.
    pub key_reference: KeyReference,
    /// Its key's algorithm.
    pub algorithm: Algorithm,
    /// The subject, for people.
    pub subject: String,
    /// The serial number, hexadecimal.
    pub serial: String,
    /// Begin of its validity, Unix seconds.
    pub not_before: i64,
    /// End of its validity, Unix seconds.
    pub not_after: i64,
    /// The certificate.
    pub pem: String,
}

/// What an operator has to revoke at a CA that does not do it itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Its number.
    pub id: i64,
    /// The terminal it came from.
    pub terminal: Name,
    /// The certificate, or the certification request whose answer was lost, PEM.
    pub pem: String,
    /// Why, as RFC 5280 names it.
    pub reason: String,
}

impl LifeCycle {
    /// The terminal's certificates, by slot.
    pub async fn certificates(&self, terminal: &Name) -> Result<Vec<Certificate>, LifeCycleError> {
        let terminal = terminal.clone();
        let all = self.read(move |connection| certificates::of_terminal(connection, &terminal)).await?;
        Ok(all.into_iter().map(Certificate::new).collect())
    }

    /// One of them.
    pub async fn certificate(&self, terminal: &Name, id: Uuid) -> Result<Certificate, LifeCycleError> {
        self.find_certificate(terminal, id).await.map(Certificate::new)
    }

    /// What an operator has to revoke elsewhere.
    pub async fn orphans(&self) -> Result<Vec<Orphan>, LifeCycleError> {
        let orphans = self.read(revocations::orphans).await?;
        let shown = |orphan: revocations::RevocationRecord| {
            let pem = match &orphan.subject {
                Subject::Certificate(der) => pem(der),
                Subject::Request(der) => request_pem(der),
            };
            Orphan { id: orphan.id, terminal: orphan.terminal, pem, reason: orphan.reason }
        };
        Ok(orphans.into_iter().map(shown).collect())
    }

    /// The operator had an orphan revoked; false if there is none of this number.
    pub async fn resolve_orphan(&self, id: i64) -> Result<bool, LifeCycleError> {
        Ok(self.0.store.write(move |transaction| revocations::delete(transaction, id)).await?)
    }
}

impl Certificate {
    pub(super) fn new(record: CertificateRecord) -> Self {
        let mut certificate = Self {
            id: record.id,
            key_reference: record.key_reference,
            algorithm: record.algorithm,
            subject: String::new(),
            serial: String::new(),
            not_before: 0,
            not_after: 0,
            pem: pem(&record.der),
        };
        // A certificate that this parser does not understand is shown without its fields.
        if let Ok((_, parsed)) = parse_x509_certificate(&record.der) {
            certificate.subject = parsed.subject().to_string();
            certificate.serial = hex::encode(parsed.raw_serial());
            certificate.not_before = parsed.validity().not_before.timestamp();
            certificate.not_after = parsed.validity().not_after.timestamp();
        }
        certificate
    }
}

fn request_pem(der: &[u8]) -> String {
    der::pem::encode_string("CERTIFICATE REQUEST", der::pem::LineEnding::LF, der).unwrap_or_default()
}
