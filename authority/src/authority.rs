//! The authority: what it issues, decides and revokes.

use std::{
    net::IpAddr,
    path::Path,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber,
    SubjectPublicKeyInfo,
};
use rustls::ServerConfig;
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};
use x509_parser::parse_x509_certificate;

use crate::{
    ca::{self, CLOCK_SKEW, Ca, CaError, CaName, limit},
    challenges::{Challenge, Challenges, Exhausted, Unusable},
    ocsp::{self, Responder},
    request::Request,
    service::{self, Credential, TlsError},
    store::{Issued, Revocation, Store, StoreError},
    verify::{self, Reason},
};

/// Of every certificate, unless pairing ones are to have another.
const VALIDITY: Duration = Duration::days(365);
const CRL_VALIDITY: Duration = Duration::days(1);
/// How long a host and a terminal may keep what was said of a card.
const CARD_STATUS_LASTS: std::time::Duration = std::time::Duration::from_secs(60 * 60);
/// Random serial numbers (RFC 5280, 4.1.2.2 allows up to 20 bytes).
const SERIAL: usize = 16;

/// The authority cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its folder cannot be made.
    #[error("the authority's folder")]
    Folder(#[from] std::io::Error),
    /// Its keys.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// Its database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A certificate is not issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The request is no PKCS#10 request of a supported key with a good signature.
    #[error("the certification request is malformed, badly signed or for an unsupported key")]
    BadRequest,
    /// The request asks for a key size that is not offered.
    #[error("the key must be RSA-2048, RSA-3072, P-256 or P-384")]
    UnsupportedKey,
    /// The key is not one to pair with.
    #[error("a key to pair with must be P-256")]
    UnsupportedPairingKey,
    /// A renewal of what this authority has not certified.
    #[error("this key and subject have no valid certificate here")]
    NothingToRenew,
    /// The authority's fault.
    #[error("the certificate could not be made")]
    Making(#[from] rcgen::Error),
    /// The authority's fault.
    #[error("no random serial number")]
    Random(#[from] getrandom::Error),
    /// The authority's fault.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A certificate is not revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// It is not one of this authority's.
    #[error("this authority has issued no such certificate")]
    Unknown,
    /// The reason is none of RFC 5280's.
    #[error("unknown reason; known are {}", REASONS.map(|(name, _)| name).join(", "))]
    UnknownReason,
    /// The authority's fault.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reasons for a revocation (RFC 5280, 5.3.1).
const REASONS: [(&str, RevocationReason); 6] = [
    ("unspecified", RevocationReason::Unspecified),
    ("keyCompromise", RevocationReason::KeyCompromise),
    ("affiliationChanged", RevocationReason::AffiliationChanged),
    ("superseded", RevocationReason::Superseded),
    ("cessationOfOperation", RevocationReason::CessationOfOperation),
    ("privilegeWithdrawn", RevocationReason::PrivilegeWithdrawn),
];

/// The authority over its folder.
pub struct Authority {
    issuing: Ca,
    pairing_cards: Ca,
    pairing_terminals: Ca,
    service: Ca,
    store: Store,
    challenges: Challenges,
    pairing_validity: Duration,
}

impl Authority {
    /// Opens the authority in a folder; the first time its keys, certificates and database are made.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        std::fs::create_dir_all(folder)?;
        // Cards hold its key for good, to know terminals and lists by: so it goes on as the authority of terminals.
        ca::rename(folder, "pairing-ca", "pairing-terminals-ca")?;
        Ok(Self {
            issuing: Ca::open(folder, "issuing-ca", "cardhost issuing CA")?,
            pairing_cards: Ca::open(folder, "pairing-cards-ca", "cardhost pairing CA of cards")?,
            pairing_terminals: Ca::open(folder, "pairing-terminals-ca", "cardhost pairing CA of terminals")?,
            service: Ca::open(folder, "service-ca", "cardhost authority service CA")?,
            store: Store::open(&folder.join("authority.sqlite"))?,
            challenges: Challenges::default(),
            pairing_validity: VALIDITY,
        })
    }

    /// The same authority, whose pairing certificates are valid this long: to show renewals, for instance.
    pub fn with_pairing_validity(self, validity: std::time::Duration) -> Self {
        let pairing_validity = validity.try_into().unwrap_or(VALIDITY);
        Self { pairing_validity, ..self }
    }

    /// The certificate that cards' certificates chain to, PEM.
    pub fn issuing_pem(&self) -> &str {
        &self.issuing.pem
    }

    /// What the server's TLS certificate chains to.
    pub fn service_certificate(&self) -> &rustls_pki_types::CertificateDer<'static> {
        &self.service.der
    }

    /// What the server's TLS certificate chains to, PEM.
    pub fn service_pem(&self) -> &str {
        &self.service.pem
    }

    /// A new credential for a host.
    ///
    /// # Errors
    /// The certificate could not be made.
    pub fn host_credential(&self, name: &str) -> Result<Credential, CaError> {
        service::host_credential(&self.service, name)
    }

    /// TLS for a server at these addresses.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn server_tls(&self, addresses: &[IpAddr]) -> Result<Arc<ServerConfig>, TlsError> {
        service::server_tls(&self.service, addresses)
    }

    /// The certification authority of this name.
    pub(crate) const fn ca(&self, name: CaName) -> &Ca {
        match name {
            CaName::Issuing => &self.issuing,
            CaName::PairingCards => &self.pairing_cards,
            CaName::PairingTerminals => &self.pairing_terminals,
        }
    }

    /// Issues a certificate (DER) for a PKCS#10 request (DER); the same request gets the same certificate as long as
    /// that is valid.
    pub(crate) fn enroll(&self, ca: CaName, request: &[u8]) -> Result<Vec<u8>, IssueError> {
        let hash = hash(asked(ca), request);
        if let Some(earlier) = self.store.by_request(&hash, now())? {
            return Ok(earlier.der);
        }
        let issued = self.sign(&Request::parse(ca, request)?)?;
        Ok(self.store.issue(&issued, &hash, now())?.der)
    }

    /// Issues a new certificate for a key and subject that have a valid one; the same request gets the same
    /// renewal, also where it got the first certificate before.
    ///
    /// Of cards' pairing keys a host asks with the one request that it has, time and again: that gets the same renewal until
    /// its last third. Their certificates are renewed after their end as well, since a card may sleep over it.
    pub(crate) fn renew(&self, ca: CaName, request: &[u8]) -> Result<Vec<u8>, IssueError> {
        let hash = hash(asked_again(ca), request);
        let (now, is_card) = (now(), ca == CaName::PairingCards);
        let last_third = (self.validity(ca) + CLOCK_SKEW).whole_seconds() / 3;
        let fresh = if is_card { now + last_third } else { now };
        if let Some(earlier) = self.store.by_request(&hash, fresh)? {
            return Ok(earlier.der);
        }
        let request = Request::parse(ca, request)?;
        let since = if is_card { i64::MIN } else { now };
        if !self.store.is_certified(ca, &request.public_key, &request.subject, since)? {
            return Err(IssueError::NothingToRenew);
        }
        Ok(self.store.issue(&self.sign(&request)?, &hash, fresh)?.der)
    }

    const fn validity(&self, ca: CaName) -> Duration {
        match ca {
            CaName::Issuing => VALIDITY,
            CaName::PairingCards | CaName::PairingTerminals => self.pairing_validity,
        }
    }

    fn sign(&self, request: &Request) -> Result<Issued, IssueError> {
        let mut serial = [0; SERIAL];
        getrandom::fill(&mut serial)?;
        // A positive number whose first byte is not zero: its bytes are the same everywhere.
        serial[0] = serial[0] & 0x7F | 0x40;
        let mut parameters = request.parameters.clone();
        limit(&mut parameters, self.validity(request.ca));
        parameters.serial_number = Some(SerialNumber::from_slice(&serial));
        let not_after = parameters.not_after.unix_timestamp();
        let key = SubjectPublicKeyInfo::from_der(&request.public_key)?;
        let certificate = parameters.signed_by(&key, &self.ca(request.ca).issuer)?;
        Ok(Issued {
            ca: request.ca,
            serial: serial.to_vec(),
            der: certificate.der().to_vec(),
            subject: request.subject.clone(),
            public_key: request.public_key.clone(),
            not_after,
            revocation: None,
        })
    }

    /// A fresh challenge.
    pub(crate) fn challenge(&self) -> Result<Challenge, Exhausted> {
        self.challenges.give(Instant::now())
    }

    /// Decides about an authentication. The outer error is the authority's own.
    pub(crate) fn verify(
        &self,
        challenge: &str,
        certificate: &[u8],
        signature: &[u8],
    ) -> Result<Result<(), Reason>, StoreError> {
        let challenge = match self.challenges.take(challenge, Instant::now()) {
            Ok(challenge) => challenge,
            Err(Unusable::Unknown) => return Ok(Err("unknown-challenge")),
            Err(Unusable::Expired) => return Ok(Err("expired-challenge")),
        };
        let issued = self.issued(certificate)?.filter(|issued| issued.ca == CaName::Issuing);
        Ok(match issued {
            Some(issued) => verify::judge(&issued, now(), &challenge, signature),
            None => Err("unknown-issuer"),
        })
    }

    /// Revokes a certificate (DER), of a card's pairing key all. True if it was revoked before.
    pub(crate) fn revoke(&self, certificate: &[u8], reason: &str) -> Result<bool, RevokeError> {
        REASONS.iter().find(|(name, _)| *name == reason).ok_or(RevokeError::UnknownReason)?;
        let issued = self.issued(certificate)?.ok_or(RevokeError::Unknown)?;
        let revocation = Revocation { at: now(), reason: reason.to_owned() };
        Ok(self.store.revoke(&issued, &revocation)?)
    }

    /// The record of a certificate (DER), if it is, byte for byte, one that this authority issued.
    fn issued(&self, certificate: &[u8]) -> Result<Option<Issued>, StoreError> {
        let Ok((_, parsed)) = parse_x509_certificate(certificate) else { return Ok(None) };
        let issued = self.store.by_serial(parsed.raw_serial())?;
        Ok(issued.filter(|issued| issued.der == certificate))
    }

    /// The current CRL of one of the authorities, DER (RFC 5280, 5).
    pub(crate) fn crl(&self, ca: CaName) -> Result<Vec<u8>, IssueError> {
        let (number, revoked) = self.store.revoked(ca)?;
        let this_update = OffsetDateTime::now_utc();
        let parameters = CertificateRevocationListParams {
            this_update,
            next_update: this_update + CRL_VALIDITY,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().filter_map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(parameters.signed_by(&self.ca(ca).issuer)?.der().to_vec())
    }

    /// The answer to an OCSP request, both DER. Certificates of users' keys have this service, and those with which cards
    /// pair, of which there is no list.
    pub(crate) fn ocsp(&self, request: &[u8]) -> Vec<u8> {
        let responder = |name, lasts| Responder { name, ca: self.ca(name), lasts };
        let responders =
            [responder(CaName::Issuing, None), responder(CaName::PairingCards, Some(CARD_STATUS_LASTS))];
        ocsp::respond(&responders, request, |serial| self.store.by_serial(serial))
    }
}

/// What a first request to this authority is told apart by.
const fn asked(ca: CaName) -> &'static [u8] {
    match ca {
        CaName::Issuing => b"",
        CaName::PairingCards => b"pairing-cards\0",
        // As when it was the only pairing authority.
        CaName::PairingTerminals => b"pairing\0",
    }
}

/// The same of a request for a renewal.
const fn asked_again(ca: CaName) -> &'static [u8] {
    match ca {
        CaName::Issuing => b"renewal\0",
        CaName::PairingCards => b"pairing-cards renewal\0",
        CaName::PairingTerminals => b"pairing renewal\0",
    }
}

fn hash(kind: &[u8], request: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix(kind).chain_update(request).finalize().into()
}

fn entry(issued: &Issued) -> Option<RevokedCertParams> {
    let revocation = issued.revocation.as_ref()?;
    let reason = REASONS.iter().find(|(name, _)| *name == revocation.reason).map(|(_, reason)| *reason);
    Some(RevokedCertParams {
        serial_number: SerialNumber::from_slice(&issued.serial),
        revocation_time: OffsetDateTime::from_unix_timestamp(revocation.at).ok()?,
        // RFC 5280, 5.3.1: "unspecified" is said by saying nothing.
        reason_code: reason.filter(|reason| *reason != RevocationReason::Unspecified),
        invalidity_date: None,
    })
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
