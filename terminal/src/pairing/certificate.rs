//! The certificates of a pairing: the card's, which this terminal verifies, and the terminal's own.

use p256::{PublicKey, SecretKey, pkcs8::DecodePrivateKey as _};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use x509_parser::{
    certificate::X509Certificate, oid_registry::OID_KEY_TYPE_EC_PUBLIC_KEY, prelude::FromDer as _,
    time::ASN1Time,
};

/// Why a certificate is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not one X.509 certificate with a key on P-256.
    #[error("it is not a certificate of a P-256 key")]
    Malformed,
    /// Signed by somebody else.
    #[error("it is not signed by the authority of cards that this terminal trusts")]
    NotSigned,
    /// Its validity has ended or not begun.
    #[error("it is not valid now")]
    NotNow,
    /// Not for key agreement.
    #[error("it is not for key agreement")]
    Usage,
}

/// A card's certificate, as far as it says who the card is.
pub struct CardCertificate {
    /// The card's key.
    pub key: PublicKey,
    /// The certificate's serial number, big-endian.
    pub serial: Vec<u8>,
}

/// What a terminal pairs itself with: its certified key, and the authority that certifies cards.
pub struct Identity {
    /// The terminal's key.
    pub key: SecretKey,
    /// Its certificate, DER.
    pub certificate: CertificateDer<'static>,
    /// The certificate of the cards' authority, CA-KLCC (GlobalPlatform Amendment F 1.3), DER.
    pub card_authority: CertificateDer<'static>,
}

impl Identity {
    /// From PEM: a PKCS#8 key, its certificate, and the cards' authority's.
    pub fn from_pem(key: &str, certificate: &str, card_authority: &str) -> Option<Self> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes()).ok()?;
        let certificate_from = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).ok();
        Some(Self {
            key: SecretKey::from_pkcs8_der(key.secret_pkcs8_der()).ok()?,
            certificate: certificate_from(certificate)?,
            card_authority: certificate_from(card_authority)?,
        })
    }

    /// True if the terminal's certificate is to be renewed: in the last third of its life, or if it is by the authority that
    /// certifies cards, as when both had one.
    pub fn is_to_renew(&self) -> bool {
        let (Ok(own), Ok(cards)) = (parse(&self.certificate), parse(&self.card_authority)) else {
            return true;
        };
        let validity = own.validity();
        let [begin, end] = [validity.not_before, validity.not_after].map(|time| time.timestamp());
        let last_third = end - (end - begin) / 3;
        ASN1Time::now().timestamp() >= last_third || own.verify_signature(Some(cards.public_key())).is_ok()
    }

    /// A card's certificate (DER), if the cards' authority made it, for key agreement.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn card(&self, certificate: &[u8]) -> Result<CardCertificate, CertificateError> {
        let authority = parse(&self.card_authority)?;
        let card = parse(certificate)?;
        card.verify_signature(Some(authority.public_key())).map_err(|_| CertificateError::NotSigned)?;
        if !card.validity().is_valid_at(ASN1Time::now()) {
            return Err(CertificateError::NotNow);
        }
        let usage = card.key_usage().map_err(|_| CertificateError::Malformed)?;
        if !usage.is_some_and(|usage| usage.value.key_agreement()) || card.is_ca() {
            return Err(CertificateError::Usage);
        }
        Ok(CardCertificate { key: public_key(&card)?, serial: card.raw_serial().to_vec() })
    }
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(CertificateError::Malformed),
    }
}

fn public_key(certificate: &X509Certificate<'_>) -> Result<PublicKey, CertificateError> {
    let key = certificate.public_key();
    if key.algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY {
        return Err(CertificateError::Malformed);
    }
    PublicKey::from_sec1_bytes(&key.subject_public_key.data).map_err(|_| CertificateError::Malformed)
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose,
        date_time_ymd,
    };

    use super::*;
    use p256::elliptic_curve::sec1::ToSec1Point as _;

    struct Authority {
        issuer: Issuer<'static, KeyPair>,
        pem: String,
    }

    impl Authority {
        fn new() -> Self {
            let key = KeyPair::generate().unwrap();
            let mut parameters = CertificateParams::default();
            parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            let pem = parameters.self_signed(&key).unwrap().pem();
            Self { issuer: Issuer::new(parameters, key), pem }
        }

        fn certify(&self, change: impl FnOnce(&mut CertificateParams)) -> (KeyPair, Certificate) {
            let key = KeyPair::generate().unwrap();
            let mut parameters = CertificateParams::default();
            parameters.key_usages = vec![KeyUsagePurpose::KeyAgreement];
            change(&mut parameters);
            let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
            (key, certificate)
        }

        /// Of a terminal that knows cards by this authority and was certified by another.
        fn identity(&self) -> Identity {
            self.identity_by(&Self::new(), |_| {})
        }

        fn identity_by(&self, by: &Self, change: impl FnOnce(&mut CertificateParams)) -> Identity {
            let (key, certificate) = by.certify(change);
            Identity::from_pem(&key.serialize_pem(), &certificate.pem(), &self.pem).unwrap()
        }
    }

    fn verdict(change: impl FnOnce(&mut CertificateParams)) -> Option<CertificateError> {
        let authority = Authority::new();
        authority.identity().card(authority.certify(change).1.der()).err()
    }

    #[test]
    fn a_card_that_the_authority_certified_is_accepted_with_its_key() {
        let authority = Authority::new();
        let (key, certificate) = authority.certify(|_| {});
        let accepted = authority.identity().card(certificate.der()).unwrap();
        assert_eq!(accepted.key.to_sec1_point(false).as_bytes(), key.public_key_raw());
        assert_eq!(accepted.serial, parse(certificate.der()).unwrap().raw_serial());
    }

    /// Otherwise whoever has a terminal's key could pass for a card.
    #[test]
    fn a_terminals_certificate_is_no_cards() {
        let identity = Authority::new().identity();
        let own = identity.card(&identity.certificate);
        assert_eq!(own.err(), Some(CertificateError::NotSigned));
    }

    #[test]
    fn a_certificate_is_to_be_renewed_in_its_last_third_or_if_it_is_by_the_cards_authority() {
        let (cards, terminals) = (Authority::new(), Authority::new());
        let valid = |from: i64, to: i64| {
            move |wish: &mut CertificateParams| {
                let days = |days| ASN1Time::now().timestamp() + days * 24 * 60 * 60;
                let day = |number| ASN1Time::from_timestamp(days(number)).unwrap().to_datetime();
                (wish.not_before, wish.not_after) = (day(from), day(to));
            }
        };
        for (from, to, expected) in [(-10, 30, false), (-19, 11, false), (-21, 9, true), (-30, -1, true)] {
            let identity = cards.identity_by(&terminals, valid(from, to));
            assert_eq!(identity.is_to_renew(), expected, "{from} {to}");
        }
        assert!(cards.identity_by(&cards, valid(-1, 30)).is_to_renew());
    }

    #[test]
    fn any_other_certificate_is_refused_with_its_reason() {
        let (authority, other) = (Authority::new(), Authority::new());
        let foreign = authority.identity().card(other.certify(|_| {}).1.der());
        assert_eq!(foreign.err(), Some(CertificateError::NotSigned));
        assert_eq!(
            verdict(|wish| wish.not_after = date_time_ymd(2020, 1, 1)),
            Some(CertificateError::NotNow)
        );
        assert_eq!(
            verdict(|wish| wish.not_before = date_time_ymd(2999, 1, 1)),
            Some(CertificateError::NotNow)
        );
        let signing = vec![KeyUsagePurpose::DigitalSignature];
        assert_eq!(verdict(|wish| wish.key_usages = signing), Some(CertificateError::Usage));
        assert_eq!(verdict(|wish| wish.key_usages = vec![]), Some(CertificateError::Usage));
        let malformed = authority.identity().card(b"no certificate");
        assert_eq!(malformed.err(), Some(CertificateError::Malformed));
        let (_, certificate) = authority.certify(|_| {});
        let longer = [certificate.der(), &[0][..]].concat();
        assert_eq!(authority.identity().card(&longer).err(), Some(CertificateError::Malformed));
    }
}
